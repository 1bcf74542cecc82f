/*
 * Leaves: inputs, constants, and the tensors that they are made of.
 *
 * A scalar leaf is a node with nothing behind it. A tensor leaf is a record whose op has no rules;
 * its elements are in the arena of values or, borrowed, in the caller's memory. Equal scalar
 * constants share a node: `shared` remembers a few places by a hash of the value, and a place is
 * used only after a look at what stands there, so that a rewind need not tidy it.
 */
#include "tape/tape.h"

#include <math.h>

static const nb_op input_op = {.name = "input", .doc = "a value given from outside"};
static const nb_op constant_op = {.name = "constant", .doc = "a value without gradient"};

/* ---- scalars --------------------------------------------------------------------------------- */

static nb_var scalar_leaf(nb_tape *t, uint8_t op, double value)
{
    if (!t)
        return NB_NONE;
    if (!nbi_room(t))
        return nbi_inert(t);
    nb_var v = nbi_push(t, op, 0, 0, value);
    v.epoch |= op == NBI_CONSTANT ? NBI_QUIET : 0;
    if (t->anomaly && !isfinite(value))
        nbi_anomaly(t, v.index, "the value is not finite");
    return v;
}

nb_var nb_input(nb_tape *t, const char *name, double value)
{
    nb_var v = scalar_leaf(t, NBI_INPUT, value);
    return name ? nb_name(v, name) : v;
}

nb_var nb_constant(nb_tape *t, double value) { return scalar_leaf(t, NBI_CONSTANT, value); }

bool nbi_constant_at(nb_tape *t, double value, uint32_t *at)
{
    uint32_t *place = nbi_shared_slot(&t->hot, value);
    if (*place >= t->hot.length || t->hot.ops[*place] != NBI_CONSTANT ||
        memcmp(&t->hot.cells[*place].value, &value, sizeof value)) {
        nb_var v = scalar_leaf(t, NBI_CONSTANT, value);
        if (v.epoch == NBI_INERT)
            return false;
        *place = v.index;
    }
    *at = *place;
    return true;
}

/* ---- tensors --------------------------------------------------------------------------------- */

/* A leaf over `data`, or over new uninitialised memory if data is NULL. NULL after an error. */
nbi_record *nbi_leaf(nb_tape *t, nb_shape shape, void *data, bool still, nb_var *out)
{
    *out = nbi_inert(t);
    if (!t)
        return NULL;
    int64_t size = shape.rank < 0 ? -1 : nb_shape_size(shape);
    size_t bytes;
    if (size < 0 || __builtin_mul_overflow((size_t)size, nbi_element(t->dtype), &bytes)) {
        nbi_fail(t, shape.rank < 0 || shape.rank > NB_MAX_RANK ? NB_ERR_SHAPE : NB_ERR_OVERFLOW,
                 shape.rank < 0 || shape.rank > NB_MAX_RANK
                     ? "tensor: a shape has 0 to %d dimensions"
                     : "tensor: a dimension is negative or the size overflows (rank %d)",
                 shape.rank < 0 || shape.rank > NB_MAX_RANK ? NB_MAX_RANK : shape.rank);
        return NULL;
    }
    if (!nbi_room(t))
        return NULL;
    nbi_spot spot = t->values.at;
    size_t dims = (size_t)shape.rank * sizeof(int64_t);
    nbi_record *r = nbi_take(&t->values, sizeof *r + dims, _Alignof(nbi_record));
    if (r && !data)
        data = nbi_take(&t->values, bytes, NBI_ALIGN);
    if (!r || !data) {
        nbi_give_back(&t->values, spot);
        nbi_no_memory(t, "tensor");
        return NULL;
    }
    *r = (nbi_record){.op = still ? &constant_op : &input_op,
                      .data = data,
                      .dims = (int64_t *)(r + 1),
                      .size = size,
                      .rank = shape.rank,
                      .still = still,
                      .leaf = true};
    if (dims)
        memcpy(r + 1, shape.dims, dims);
    nbi_args args;
    memcpy(&args, &r, sizeof args);
    *out = nbi_push(t, NBI_RECORD, args.a, args.b, (double)NAN);
    out->epoch |= NBI_TENSOR | (still ? NBI_QUIET : 0);
    return r;
}

static nb_var finish(nb_var v, nbi_record *r, const char *name)
{
    nb_tape *t = v.tape;
    if (r && t->anomaly)
        for (int64_t i = 0; i < r->size; i++)
            if (!isfinite(t->dtype == NB_F64 ? ((double *)r->data)[i]
                                             : (double)((float *)r->data)[i])) {
                nbi_anomaly(t, v.index, "a value is not finite");
                break;
            }
    return r && name ? nb_name(v, name) : v;
}

static nb_var copy_in(nb_tape *t, const char *name, nb_shape shape, const double *d, const float *f,
                      bool still)
{
    nb_var v;
    if (!d && !f && nb_shape_size(shape) > 0) {
        nbi_fail(t, NB_ERR_ARGUMENT, "tensor: the data are NULL");
        return nbi_inert(t);
    }
    nbi_record *r = nbi_leaf(t, shape, NULL, still, &v);
    for (int64_t i = 0; r && i < r->size; i++) {
        if (t->dtype == NB_F64)
            ((double *)r->data)[i] = d ? d[i] : (double)f[i];
        else
            ((float *)r->data)[i] = d ? (float)d[i] : f[i];
    }
    return finish(v, r, name);
}

nb_var nb_tensor(nb_tape *t, const char *name, nb_shape shape, const double *data)
{
    return copy_in(t, name, shape, data, NULL, false);
}

nb_var nb_tensor_f32(nb_tape *t, const char *name, nb_shape shape, const float *data)
{
    return copy_in(t, name, shape, NULL, data, false);
}

nb_var nb_constant_tensor(nb_tape *t, nb_shape shape, const double *data)
{
    return copy_in(t, NULL, shape, data, NULL, true);
}

nb_var nb_constant_tensor_f32(nb_tape *t, nb_shape shape, const float *data)
{
    return copy_in(t, NULL, shape, NULL, data, true);
}

/* The const is kept by never writing to a leaf's data. */
static nb_var borrow(nb_tape *t, const char *name, nb_shape shape, const void *data, void *grad,
                     bool still)
{
    static const char nothing[NBI_ALIGN];
    void *p;
    nb_var v;
    if (!data && nb_shape_size(shape) == 0)
        data = nothing;
    if (!data) {
        nbi_fail(t, NB_ERR_ARGUMENT, "borrow: the data are NULL");
        return nbi_inert(t);
    }
    memcpy(&p, &data, sizeof p);
    nbi_record *r = nbi_leaf(t, shape, p, still, &v);
    if (r && grad) {
        r->grad = grad;
        r->borrowed = r->fresh = true;
        r->older = t->attention;
        t->attention = v.index;
    }
    return finish(v, r, name);
}

nb_var nb_borrow(nb_tape *t, const char *name, nb_shape shape, const void *data, void *grad)
{
    return borrow(t, name, shape, data, grad, false);
}

nb_var nb_borrow_constant(nb_tape *t, nb_shape shape, const void *data)
{
    return borrow(t, NULL, shape, data, NULL, true);
}

static nb_var again(nb_var x, const char *op, const char *name, bool still)
{
    nb_var inert;
    nb_tape *t = nbi_home(op, 1, &x, &inert);
    if (!t)
        return x.tape || nbi_is_inert(x) ? inert : x; /* a number is its own constant */
    if (!nbi_is_tensor(t, x.index)) {
        nb_var v = scalar_leaf(t, still ? NBI_CONSTANT : NBI_INPUT, t->hot.cells[x.index].value);
        return name ? nb_name(v, name) : v;
    }
    nbi_record *from = nbi_record_at(t, x.index), *r;
    nb_var v;
    nb_shape shape = nb_shape_make((size_t)from->rank, from->dims);
    /* values never change once recorded, so a constant may share them */
    r = nbi_leaf(t, shape, still ? from->data : NULL, still, &v);
    if (r && !still)
        memcpy(r->data, from->data, (size_t)r->size * nbi_element(t->dtype));
    return r && name ? nb_name(v, name) : v;
}

nb_var nb_leaf(const char *name, nb_var x) { return again(x, "leaf", name, false); }

nb_var nb_detach(nb_var x) { return again(x, "detach", NULL, true); }
