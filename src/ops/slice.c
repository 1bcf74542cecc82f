/*
 * Slices: every step-th element along an axis.
 *
 *     slice     y[… j …] = x[… start + j step …]      0 <= j < count
 *     unslice   x[… start + j step …] = y[… j …], and 0 elsewhere
 *     split     part k of n equal ones: a slice of step 1
 *
 * Slice's matrix S picks rows of the identity. Its transpose puts elements back among zeros, which
 * is unslice: so each is the other's reverse rule, and both differentiate to any order. Since
 * S S^T = 1, no place is named twice and unslice never adds.
 *
 * A caller's start and stop follow Python: first negative positions count from the end, then what
 * still lies beyond an end is moved to it. Walking forwards the ends are 0 and n, walking backwards
 * n - 1 and -1 (one before the first). Nothing here can overflow: a position is moved by n only if
 * it is negative, and the length of a walk is counted in unsigned arithmetic, where the extreme
 * steps have a magnitude.
 */
#include "ops/array.h"
#include "ops/axis.h"
#include "ops/records.h"
#include "tape/tape.h"
#include <nabla/ops.h>

/* Element j of the part is element start + j step of the whole, which has n along the axis. */
typedef struct cut {
    int axis;
    int64_t start, count, step, n;
} cut;

/* ---- moving ---------------------------------------------------------------------------------- */

/* The walk over the part; whole gets the stride of the whole at each axis. part has elements. */
static int64_t cut_walk(const cut *k, const nb_array *part, int64_t stride[3], int64_t dims[3])
{
    nbi_split s = nbi_split_at(part->rank, part->dims, k->axis);
    dims[0] = s.outer, dims[1] = s.n, dims[2] = s.inner;
    stride[0] = k->n * s.inner, stride[1] = k->step * s.inner, stride[2] = 1;
    return k->start * s.inner;
}

/* part = or += the elements of whole. */
static void cut_out(const nb_tape *t, const cut *k, const nb_array *part, const nb_array *whole,
                    bool add)
{
    if (part->size == 0)
        return;
    int64_t dims[3], from[3], first = cut_walk(k, part, from, dims);
    nbi_walk w = {0};
    nbi_walk_axis(&w, dims[0], dims[1] * dims[2], from[0]);
    nbi_walk_axis(&w, dims[1], dims[2], from[1]);
    nbi_walk_axis(&w, dims[2], 1, from[2]);
    nbi_move_by(&t->crew, part->dtype, &w, part->data, nbi_place(whole->dtype, whole->data, first),
                add);
}

/* The elements of whole = or += part; the others are left as they are. */
static void cut_in(const nb_tape *t, const cut *k, const nb_array *whole, const nb_array *part,
                   bool add)
{
    if (part->size == 0)
        return;
    int64_t dims[3], to[3], first = cut_walk(k, part, to, dims);
    nbi_walk w = {0};
    nbi_walk_axis(&w, dims[0], to[0], dims[1] * dims[2]);
    nbi_walk_axis(&w, dims[1], to[1], dims[2]);
    nbi_walk_axis(&w, dims[2], to[2], 1);
    nbi_move_by(&t->crew, part->dtype, &w, nbi_place(whole->dtype, whole->data, first), part->data,
                add);
}

/* ---- the rules of a cut, whoever asked for it ------------------------------------------------ */

static nb_var unslice(nb_var part, const cut *k);

static nb_code cut_forward(const nb_call *c)
{
    cut_out(c->tape, c->state, c->out, &c->in[0], false);
    return NB_OK;
}

static nb_code cut_reverse(const nb_rule *r)
{
    r->d[0] = unslice(r->g, r->state);
    return NB_OK;
}

static nb_code cut_reverse_arrays(const nb_call *c, const nb_array *g, nb_array *const *gin,
                                  const bool *add)
{
    if (gin[0]) {
        nbi_clear(gin[0], add[0]);
        cut_in(c->tape, c->state, gin[0], g, true);
    }
    return NB_OK;
}

/* The stop that leads to exactly count elements; NB_BEGIN where it would read as a negative one. */
static nb_var cut_again(nb_var x, const cut *k)
{
    int64_t stop = k->start + k->count * k->step;
    return nb_slice(x, k->axis, k->start, stop < 0 ? NB_BEGIN : stop, k->step);
}

static nb_code cut_tangent(const nb_rule *r)
{
    r->d[0] = cut_again(r->t[0], r->state);
    return NB_OK;
}

/* ---- slice ----------------------------------------------------------------------------------- */

typedef struct slice_state {
    cut cut; /* filled by the shape rule; first, so that the rules of a cut find it */
    int64_t start, stop, step;
} slice_state;

static int64_t position(int64_t p, int64_t n, int64_t low, int64_t high)
{
    if (p < 0)
        p += n;
    return p < low ? low : p > high ? high : p;
}

/* Axis and n are set. A walk of one step or none may name any step: 1 keeps products small. */
static void locate(slice_state *s)
{
    cut *k = &s->cut;
    bool back = s->step < 0;
    int64_t low = back ? -1 : 0, high = back ? k->n - 1 : k->n;
    int64_t start = position(s->start, k->n, low, high), stop = position(s->stop, k->n, low, high);
    int64_t distance = back ? start - stop : stop - start;
    uint64_t stride = back ? 0 - (uint64_t)s->step : (uint64_t)s->step;
    k->count = distance > 0 ? (int64_t)(((uint64_t)distance - 1) / stride) + 1 : 0;
    k->start = k->count ? start : 0;
    k->step = k->count > 1 ? s->step : 1;
}

static nb_code slice_shape(const nb_call *c, nb_shape *out)
{
    slice_state *s = c->state;
    const nb_array *x = &c->in[0];
    if (!nbi_needs_tensor(c, 0))
        return NB_ERR_SHAPE;
    if (!nbi_axis(c, &s->cut.axis, x->rank))
        return NB_ERR_AXIS;
    if (s->step == 0)
        return nb_refuse(c, NB_ERR_ARGUMENT, "a step of 0 leads nowhere", NULL);
    s->cut.n = x->dims[s->cut.axis];
    locate(s);
    *out = nbi_shape_in(x);
    out->dims[s->cut.axis] = s->cut.count;
    return NB_OK;
}

static nb_var slice_sample(nb_sampler *s, int k)
{
    nb_var v = nb_sample(s, NB_SHAPE(7), -2, 2), x = nb_sample(s, NB_SHAPE(3, 5, 2), -2, 2);
    switch (k) {
    case 0: return nb_slice(v, 0, 1, 6, 2);
    case 1: return nb_slice(v, 0, NB_END, NB_BEGIN, -3);
    case 2: return nb_slice(v, -1, -3, NB_END, 1);
    case 3: return nb_slice(x, 1, 0, 5, 3);
    case 4: return nb_slice(x, 1, 4, 0, -2);
    case 5: return nb_slice(x, 0, 1, 2, 1);
    case 6: return nb_slice(x, -1, 1, NB_BEGIN, -1);
    case 7: return nb_slice(x, 1, 3, 3, 1);
    case 8: return nb_slice(nb_sample(s, NB_SHAPE(2, 0), -2, 2), 0, 0, 1, 1);
    case 9: return nb_slice(nb_sample(s, NB_SHAPE(1, 2, 1, 3, 1, 2, 2, 1), -2, 2), 3, 0, NB_END, 2);
    default: return NB_NONE;
    }
}

const nb_op nbi_op_slice = {
    .name = "slice",
    .doc = "every step-th element along an axis",
    .shape = slice_shape,
    .forward = cut_forward,
    .reverse = cut_reverse,
    .reverse_arrays = cut_reverse_arrays,
    .overwrites = true,
    .tangent = cut_tangent,
    .sample = slice_sample,
};

nb_var(nb_slice)(nb_var x, int axis, int64_t start, int64_t stop, int64_t step)
{
    slice_state s = {.cut.axis = axis, .start = start, .stop = stop, .step = step};
    return nb_apply(&nbi_op_slice, 1, &x, &s, sizeof s);
}

/* ---- unslice --------------------------------------------------------------------------------- */

static nb_code unslice_shape(const nb_call *c, nb_shape *out)
{
    const cut *k = c->state;
    *out = nbi_shape_in(&c->in[0]);
    out->dims[k->axis] = k->n;
    return NB_OK;
}

static nb_code unslice_forward(const nb_call *c)
{
    nbi_clear(c->out, false);
    cut_in(c->tape, c->state, c->out, &c->in[0], false);
    return NB_OK;
}

static nb_code unslice_reverse(const nb_rule *r)
{
    r->d[0] = cut_again(r->g, r->state);
    return NB_OK;
}

static nb_code unslice_reverse_arrays(const nb_call *c, const nb_array *g, nb_array *const *gin,
                                      const bool *add)
{
    if (gin[0])
        cut_out(c->tape, c->state, gin[0], g, add[0]);
    return NB_OK;
}

static nb_code unslice_tangent(const nb_rule *r)
{
    r->d[0] = unslice(r->t[0], r->state);
    return NB_OK;
}

static nb_var unslice_sample(nb_sampler *s, int k)
{
    static const cut cuts[] = {
        {0, 1, 3, 2, 8}, {0, 6, 3, -3, 7}, {1, 2, 2, 1, 4}, {1, 3, 2, -3, 4}};
    nb_var v = nb_sample(s, NB_SHAPE(3), -2, 2), x = nb_sample(s, NB_SHAPE(3, 2, 2), -2, 2);
    return k < 4 ? unslice(cuts[k].axis ? x : v, &cuts[k]) : NB_NONE;
}

const nb_op nbi_op_unslice = {
    .name = "unslice",
    .doc = "a slice's elements put back among zeros",
    .shape = unslice_shape,
    .forward = unslice_forward,
    .reverse = unslice_reverse,
    .reverse_arrays = unslice_reverse_arrays,
    .overwrites = true,
    .tangent = unslice_tangent,
    .sample = unslice_sample,
};

static nb_var unslice(nb_var part, const cut *k)
{
    return nb_apply(&nbi_op_unslice, 1, &part, k, sizeof *k);
}

/* ---- split ----------------------------------------------------------------------------------- */

typedef struct split_state {
    cut cut; /* filled by the shape rule; first, as in a slice */
    int64_t part, parts;
} split_state;

static nb_code split_shape(const nb_call *c, nb_shape *out)
{
    split_state *s = c->state;
    const nb_array *x = &c->in[0];
    if (!nbi_needs_tensor(c, 0))
        return NB_ERR_SHAPE;
    if (!nbi_axis(c, &s->cut.axis, x->rank))
        return NB_ERR_AXIS;
    if (s->parts < 1)
        return nb_refuse(c, NB_ERR_ARGUMENT, "needs one part at least and room for each", NULL);
    int64_t n = x->dims[s->cut.axis];
    if (n % s->parts != 0)
        return nb_refuse(c, NB_ERR_SHAPE, "the axis does not divide into equal parts",
                         "axis %d has size %lld, parts %lld", s->cut.axis, (long long)n,
                         (long long)s->parts);
    s->cut.n = n;
    s->cut.count = n / s->parts;
    s->cut.start = s->part * s->cut.count;
    s->cut.step = 1;
    *out = nbi_shape_in(x);
    out->dims[s->cut.axis] = s->cut.count;
    return NB_OK;
}

static nb_var split_part(nb_var x, int axis, int64_t part, int64_t parts);

static nb_var split_sample(nb_sampler *s, int k)
{
    switch (k) {
    case 0: return split_part(nb_sample(s, NB_SHAPE(6), -2, 2), 0, 1, 3);
    case 1: return split_part(nb_sample(s, NB_SHAPE(3, 4, 2), -2, 2), 1, 1, 2);
    case 2: return split_part(nb_sample(s, NB_SHAPE(3, 4), -2, 2), -1, 3, 4);
    case 3: return split_part(nb_sample(s, NB_SHAPE(3, 4), -2, 2), 0, 0, 1);
    case 4: return split_part(nb_sample(s, NB_SHAPE(3, 0), -2, 2), 1, 1, 2);
    default: return NB_NONE;
    }
}

const nb_op nbi_op_split = {
    .name = "split",
    .doc = "one of equal parts along an axis",
    .shape = split_shape,
    .forward = cut_forward,
    .reverse = cut_reverse,
    .reverse_arrays = cut_reverse_arrays,
    .overwrites = true,
    .tangent = cut_tangent,
    .sample = split_sample,
};

static nb_var split_part(nb_var x, int axis, int64_t part, int64_t parts)
{
    split_state s = {.cut.axis = axis, .part = part, .parts = parts};
    return nb_apply(&nbi_op_split, 1, &x, &s, sizeof s);
}

/* All parts or none: what was made before a failure is forgotten. */
nb_code(nb_split)(nb_var x, size_t n, int axis, nb_var *out)
{
    if (!out || n > INT64_MAX)
        n = 0; /* which the shape rule refuses */
    nb_mark before = nb_tape_mark(x.tape);
    nb_var part;
    size_t made = 0;
    do {
        part = split_part(x, axis, (int64_t)made, (int64_t)n);
        if (nb_ok(part))
            out[made++] = part;
    } while (nb_ok(part) && made < n);
    if (nb_ok(part))
        return NB_OK;
    if (made)
        nb_rewind(before);
    for (size_t k = 0; k < n; k++)
        out[k] = part;
    return x.tape ? nb_status(x.tape) : NB_ERR_HANDLE;
}
