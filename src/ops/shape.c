/*
 * Views: a new shape over the same elements.
 *
 * Arrays are dense and row-major, so the elements of an array are one list, and a shape is only a
 * way of counting through it. Any shape with as many elements will do:
 *
 *     reshape     to a shape that the caller names, one dimension of which may be inferred
 *     flatten     to the list itself
 *     squeeze     without axes of size 1
 *     unsqueeze   with one more
 *
 * A view shares its operand's storage: nothing is copied and the matrix of the map is the identity.
 * So the adjoint goes back as it came, in the operand's shape. A scalar is no tensor and has no
 * storage to share: stack makes tensors of scalars.
 */
#include "base/shape.h"
#include "ops/array.h"
#include "ops/axis.h"
#include "ops/records.h"
#include <nabla/ops.h>

/* ---- the rules of all four ------------------------------------------------------------------- */

static nb_code view_reverse(const nb_rule *r)
{
    r->d[0] = nb_reshape(r->g, nb_shape_of(r->in[0]));
    return NB_OK;
}

static nb_code view_reverse_arrays(const nb_call *c, const nb_array *g, nb_array *const *gin,
                                   const bool *add)
{
    (void)c;
    if (gin[0])
        nbi_move_run(g->dtype, g->size, gin[0]->data, g->data, add[0]);
    return NB_OK;
}

static nb_code view_tangent(const nb_rule *r)
{
    r->d[0] = nb_reshape(r->t[0], nb_shape_of(r->out));
    return NB_OK;
}

/* ---- reshape --------------------------------------------------------------------------------- */

/* Replaces the one dimension of -1 in s by what is left of size. */
static nb_code infer(const nb_call *c, nb_shape *s, int64_t size)
{
    nb_shape known = *s;
    int at = -1;
    for (int i = 0; i < s->rank && i < NB_MAX_RANK; i++)
        if (s->dims[i] == -1) {
            if (at >= 0)
                return nb_refuse(c, NB_ERR_SHAPE, "only one dimension can be inferred",
                                 "axes %d and %d are both -1", at, i);
            at = i;
            known.dims[i] = 1;
        }
    if (!nbi_needs_shape(c, &known))
        return NB_ERR_SHAPE;
    if (at < 0)
        return NB_OK;
    int64_t others = nb_shape_size(known);
    if (others == 0 || size % others != 0)
        return nb_refuse(c, NB_ERR_SHAPE, "no dimension fits in place of -1",
                         "%lld elements in lines of %lld", (long long)size, (long long)others);
    s->dims[at] = size / others;
    return NB_OK;
}

static nb_code reshape_shape(const nb_call *c, nb_shape *out)
{
    nb_shape *s = c->state;
    char text[NBI_SHAPE_TEXT];
    if (!nbi_needs_tensor(c, 0))
        return NB_ERR_SHAPE;
    nb_code code = infer(c, s, c->in[0].size);
    if (code != NB_OK)
        return code;
    if (nb_shape_size(*s) != c->in[0].size)
        return nb_refuse(c, NB_ERR_SHAPE, "the number of elements differs",
                         "%lld elements do not fill the shape %s", (long long)c->in[0].size,
                         nbi_shape_text(text, s->rank, s->dims));
    *out = *s;
    return NB_OK;
}

static nb_var reshape_sample(nb_sampler *s, int k)
{
    nb_var x = nb_sample(s, k == 3 ? NB_SHAPE(0, 4) : NB_SHAPE(2, 3, 4), -2, 2);
    switch (k) {
    case 0: return nb_reshape(x, NB_SHAPE(4, 6));
    case 1: return nb_reshape(x, NB_SHAPE(3, -1, 2));
    case 2: return nb_reshape(x, NB_SHAPE(1, 2, 1, 3, 1, 2, 2, 1));
    case 3: return nb_reshape(x, NB_SHAPE(2, 0, 3));
    case 4: return nb_reshape(nb_sample(s, NB_POINT, -2, 2), NB_SHAPE(1, 1));
    default: return NB_NONE;
    }
}

const nb_op nbi_op_reshape = {
    .name = "reshape",
    .doc = "the same elements in another shape",
    .shape = reshape_shape,
    .view = true,
    .reverse = view_reverse,
    .reverse_arrays = view_reverse_arrays,
    .overwrites = true,
    .tangent = view_tangent,
    .sample = reshape_sample,
};

nb_var(nb_reshape)(nb_var x, nb_shape shape)
{
    return nb_apply(&nbi_op_reshape, 1, &x, &shape, sizeof shape);
}

/* ---- flatten --------------------------------------------------------------------------------- */

static nb_code flatten_shape(const nb_call *c, nb_shape *out)
{
    if (!nbi_needs_tensor(c, 0))
        return NB_ERR_SHAPE;
    *out = NB_SHAPE(c->in[0].size);
    return NB_OK;
}

static nb_var flatten_sample(nb_sampler *s, int k)
{
    switch (k) {
    case 0: return nb_flatten(nb_sample(s, NB_SHAPE(3, 5), -2, 2));
    case 1: return nb_flatten(nb_sample(s, NB_POINT, -2, 2));
    case 2: return nb_flatten(nb_sample(s, NB_SHAPE(2, 1, 2, 1, 2, 1, 2, 1), -2, 2));
    default: return NB_NONE;
    }
}

const nb_op nbi_op_flatten = {
    .name = "flatten",
    .doc = "the same elements along one axis",
    .shape = flatten_shape,
    .view = true,
    .reverse = view_reverse,
    .reverse_arrays = view_reverse_arrays,
    .overwrites = true,
    .tangent = view_tangent,
    .sample = flatten_sample,
};

nb_var(nb_flatten)(nb_var x) { return nb_apply(&nbi_op_flatten, 1, &x, NULL, 0); }

/* ---- squeeze --------------------------------------------------------------------------------- */

static nb_code squeeze_shape(const nb_call *c, nb_shape *out)
{
    const nb_axes *axes = c->state;
    const nb_array *x = &c->in[0];
    bool drop[NB_MAX_RANK];
    if (!nbi_needs_tensor(c, 0))
        return NB_ERR_SHAPE;
    if (!nbi_axes_mask(c, *axes, x->rank, drop))
        return NB_ERR_AXIS;
    out->rank = 0;
    for (int i = 0; i < x->rank; i++) {
        if (drop[i] && x->dims[i] != 1 && axes->count >= 0)
            return nb_refuse(c, NB_ERR_SHAPE, "only an axis of size 1 can be dropped",
                             "axis %d has size %lld", i, (long long)x->dims[i]);
        if (!drop[i] || x->dims[i] != 1)
            out->dims[out->rank++] = x->dims[i];
    }
    return NB_OK;
}

static nb_var squeeze_sample(nb_sampler *s, int k)
{
    nb_var x = nb_sample(s, NB_SHAPE(1, 3, 1, 2), -2, 2);
    switch (k) {
    case 0: return nb_squeeze(x, NB_ALL);
    case 1: return nb_squeeze(x, NB_AXES(-2));
    case 2: return nb_squeeze(x, NB_AXES(2, 0));
    case 3: return nb_squeeze(nb_sample(s, NB_SHAPE(1), -2, 2), NB_ALL);
    default: return NB_NONE;
    }
}

const nb_op nbi_op_squeeze = {
    .name = "squeeze",
    .doc = "without axes of size 1",
    .shape = squeeze_shape,
    .view = true,
    .reverse = view_reverse,
    .reverse_arrays = view_reverse_arrays,
    .overwrites = true,
    .tangent = view_tangent,
    .sample = squeeze_sample,
};

nb_var(nb_squeeze)(nb_var x, nb_axes axes)
{
    return nb_apply(&nbi_op_squeeze, 1, &x, &axes, sizeof axes);
}

/* ---- unsqueeze ------------------------------------------------------------------------------- */

static nb_code unsqueeze_shape(const nb_call *c, nb_shape *out)
{
    const nb_array *x = &c->in[0];
    int *axis = c->state;
    if (!nbi_needs_tensor(c, 0))
        return NB_ERR_SHAPE;
    if (!nbi_axis(c, axis, x->rank + 1))
        return NB_ERR_AXIS;
    if (x->rank == NB_MAX_RANK)
        return nb_refuse(c, NB_ERR_SHAPE, "the result has too many dimensions", "%d are the most",
                         NB_MAX_RANK);
    out->rank = x->rank + 1;
    for (int i = 0; i < out->rank; i++)
        out->dims[i] = i == *axis ? 1 : x->dims[i - (i > *axis)];
    return NB_OK;
}

static nb_var unsqueeze_sample(nb_sampler *s, int k)
{
    static const int axis[] = {0, 1, -1, 2};
    if (k < 4)
        return nb_unsqueeze(nb_sample(s, NB_SHAPE(3, 2), -2, 2), axis[k]);
    return k == 4 ? nb_unsqueeze(nb_sample(s, NB_POINT, -2, 2), 0) : NB_NONE;
}

const nb_op nbi_op_unsqueeze = {
    .name = "unsqueeze",
    .doc = "with a new axis of size 1",
    .shape = unsqueeze_shape,
    .view = true,
    .reverse = view_reverse,
    .reverse_arrays = view_reverse_arrays,
    .overwrites = true,
    .tangent = view_tangent,
    .sample = unsqueeze_sample,
};

nb_var(nb_unsqueeze)(nb_var x, int axis)
{
    return nb_apply(&nbi_op_unsqueeze, 1, &x, &axis, sizeof axis);
}
