/*
 * Repetition along axes, and a frame around an axis.
 *
 *     expand   broadcasts to a shape: an axis of size 1, or none, becomes n equal copies
 *     tile     y = [x x … x] along each axis, as often as its count says
 *     pad      y = [v … v  x  v … v] along one axis
 *
 * An element that was copied to several places collects the adjoints of them all. For expand that
 * sum runs over the axes along which x was stretched, the very sum that the library takes for every
 * operand that was broadcast; so its rule hands back the adjoint as it is. For tile, place i of an
 * axis of n came from i mod n: seen as [counts n], the adjoint is summed over the first. Pad's
 * frame is constant, so its adjoint is the slice that lies inside.
 *
 * Each is one walk: a copy is a source stride of 0. A tiled axis is two axes of the walk, the
 * counts (source stride 0) and x's own; hence a walk may have twice the rank of a tensor.
 */
#include "ops/array.h"
#include "ops/axis.h"
#include "ops/records.h"
#include "tape/tape.h"
#include <nabla/ops.h>

/* ---- expand ---------------------------------------------------------------------------------- */

static nb_code expand_shape(const nb_call *c, nb_shape *out)
{
    const nb_shape *s = c->state;
    const nb_array *x = &c->in[0];
    if (!nbi_needs_shape(c, s))
        return NB_ERR_SHAPE;
    int skip = s->rank - (x->rank < 0 ? 0 : x->rank);
    if (skip < 0)
        return nb_refuse(c, NB_ERR_SHAPE, "the operand has more axes than the shape", "%d and %d",
                         x->rank, s->rank);
    for (int i = 0; i < x->rank; i++)
        if (x->dims[i] != s->dims[skip + i] && x->dims[i] != 1)
            return nb_refuse(c, NB_ERR_SHAPE, "an axis that is not of size 1 cannot stretch",
                             "axis %d has size %lld, the shape asks for %lld", i,
                             (long long)x->dims[i], (long long)s->dims[skip + i]);
    *out = *s;
    return NB_OK;
}

static nb_code expand_forward(const nb_call *c)
{
    const nb_array *x = &c->in[0], *y = c->out;
    int64_t to[NB_MAX_RANK], from[NB_MAX_RANK];
    nbi_walk w = {0};
    if (y->size == 0)
        return NB_OK;
    int rank = x->rank < 0 ? 0 : x->rank, skip = y->rank - rank;
    nbi_strides(y->rank, y->dims, to);
    nbi_strides(rank, x->dims, from);
    for (int i = 0; i < y->rank; i++) {
        bool stretched = i < skip || x->dims[i - skip] == 1;
        nbi_walk_axis(&w, y->dims[i], to[i], stretched ? 0 : from[i - skip]);
    }
    nbi_move_by(&c->tape->crew, y->dtype, &w, y->data, x->data, false);
    return NB_OK;
}

static nb_code expand_reverse(const nb_rule *r)
{
    r->d[0] = r->g;
    return NB_OK;
}

static nb_code expand_tangent(const nb_rule *r)
{
    const nb_shape *s = r->state;
    r->d[0] = nb_expand(r->t[0], *s);
    return NB_OK;
}

static nb_var expand_sample(nb_sampler *s, int k)
{
    switch (k) {
    case 0: return nb_expand(nb_sample(s, NB_SHAPE(3, 1), -2, 2), NB_SHAPE(2, 3, 4));
    case 1: return nb_expand(nb_sample_scalar(s, -2, 2), NB_SHAPE(2, 3));
    case 2: return nb_expand(nb_sample(s, NB_POINT, -2, 2), NB_SHAPE(5));
    case 3: return nb_expand(nb_sample(s, NB_SHAPE(1, 3), -2, 2), NB_SHAPE(1, 2, 1, 1, 2, 1, 2, 3));
    case 4: return nb_expand(nb_sample(s, NB_SHAPE(3, 1), -2, 2), NB_SHAPE(3, 0));
    case 5: return nb_expand(nb_sample(s, NB_SHAPE(2, 3), -2, 2), NB_SHAPE(2, 3));
    default: return NB_NONE;
    }
}

const nb_op nbi_op_expand = {
    .name = "expand",
    .doc = "broadcast to a shape",
    .shape = expand_shape,
    .forward = expand_forward,
    .reverse = expand_reverse,
    .tangent = expand_tangent,
    .sample = expand_sample,
};

nb_var(nb_expand)(nb_var x, nb_shape shape)
{
    return nb_apply(&nbi_op_expand, 1, &x, &shape, sizeof shape);
}

/* ---- tile ------------------------------------------------------------------------------------ */

/* The dimension of x, or of the counts, at axis i of a result of that rank. */
static int64_t aligned(int rank, const int64_t *dims, int result, int i)
{
    int k = i - (result - rank);
    return k < 0 ? 1 : dims[k];
}

static nb_code tile_shape(const nb_call *c, nb_shape *out)
{
    const nb_shape *counts = c->state;
    const nb_array *x = &c->in[0];
    if (!nbi_needs_tensor(c, 0) || !nbi_needs_shape(c, counts))
        return NB_ERR_SHAPE;
    out->rank = x->rank > counts->rank ? x->rank : counts->rank;
    for (int i = 0; i < out->rank; i++) {
        int64_t n = aligned(x->rank, x->dims, out->rank, i);
        int64_t count = aligned(counts->rank, counts->dims, out->rank, i);
        if (__builtin_mul_overflow(n, count, &out->dims[i]))
            return nb_refuse(c, NB_ERR_OVERFLOW, "a dimension overflows", "%lld times %lld",
                             (long long)count, (long long)n);
    }
    return NB_OK;
}

static nb_code tile_forward(const nb_call *c)
{
    const nb_shape *counts = c->state;
    const nb_array *x = &c->in[0], *y = c->out;
    int64_t to[NB_MAX_RANK], from = 1;
    nbi_walk w = {0};
    if (y->size == 0)
        return NB_OK;
    nbi_strides(y->rank, y->dims, to);
    for (int i = 0; i < x->rank; i++)
        from *= x->dims[i];
    for (int i = 0; i < y->rank; i++) {
        int64_t n = aligned(x->rank, x->dims, y->rank, i);
        from /= n;
        nbi_walk_axis(&w, aligned(counts->rank, counts->dims, y->rank, i), n * to[i], 0);
        nbi_walk_axis(&w, n, to[i], from);
    }
    nbi_move_by(&c->tape->crew, y->dtype, &w, y->data, x->data, false);
    return NB_OK;
}

/* Axis by axis, g is seen as [outer count rest] and summed over the count. */
static nb_code tile_reverse(const nb_rule *r)
{
    const nb_shape *counts = r->state;
    nb_shape x = nb_shape_of(r->in[0]), y = nb_shape_of(r->out);
    nb_var d = r->g;
    int64_t outer = 1;
    if (nb_size(d) == 0) {
        r->d[0] = nb_zeros(r->tape, x);
        return NB_OK;
    }
    for (int i = 0; i < y.rank; i++) {
        int64_t n = aligned(x.rank, x.dims, y.rank, i);
        int64_t count = aligned(counts->rank, counts->dims, y.rank, i), rest = n;
        for (int k = i + 1; k < y.rank; k++)
            rest *= y.dims[k];
        if (count != 1)
            d = nb_sum_over(nb_reshape(d, NB_SHAPE(outer, count, rest)), NB_AXES(1), false);
        outer *= n;
    }
    r->d[0] = nb_reshape(d, x);
    return NB_OK;
}

static nb_code tile_tangent(const nb_rule *r)
{
    const nb_shape *counts = r->state;
    r->d[0] = nb_tile(r->t[0], *counts);
    return NB_OK;
}

static nb_var tile_sample(nb_sampler *s, int k)
{
    switch (k) {
    case 0: return nb_tile(nb_sample(s, NB_SHAPE(3), -2, 2), NB_SHAPE(4));
    case 1: return nb_tile(nb_sample(s, NB_SHAPE(2, 3), -2, 2), NB_SHAPE(3, 2));
    case 2: return nb_tile(nb_sample(s, NB_SHAPE(2, 1, 3), -2, 2), NB_SHAPE(2));
    case 3: return nb_tile(nb_sample(s, NB_SHAPE(2, 3), -2, 2), NB_SHAPE(2, 1, 1, 2, 1, 1, 1, 2));
    case 4: return nb_tile(nb_sample(s, NB_SHAPE(2, 3), -2, 2), NB_SHAPE(0, 2));
    case 5: return nb_tile(nb_sample(s, NB_SHAPE(0, 3), -2, 2), NB_SHAPE(2, 2));
    case 6: return nb_tile(nb_sample(s, NB_POINT, -2, 2), NB_SHAPE(2, 3));
    default: return NB_NONE;
    }
}

const nb_op nbi_op_tile = {
    .name = "tile",
    .doc = "repeated along axes",
    .shape = tile_shape,
    .forward = tile_forward,
    .reverse = tile_reverse,
    .tangent = tile_tangent,
    .sample = tile_sample,
};

nb_var(nb_tile)(nb_var x, nb_shape repeats)
{
    return nb_apply(&nbi_op_tile, 1, &x, &repeats, sizeof repeats);
}

/* ---- pad ------------------------------------------------------------------------------------- */

typedef struct pad_state {
    int axis;
    int64_t before, after;
    double value;
} pad_state;

static nb_code pad_shape(const nb_call *c, nb_shape *out)
{
    pad_state *p = c->state;
    const nb_array *x = &c->in[0];
    if (!nbi_needs_tensor(c, 0))
        return NB_ERR_SHAPE;
    if (!nbi_axis(c, &p->axis, x->rank))
        return NB_ERR_AXIS;
    if (p->before < 0 || p->after < 0)
        return nb_refuse(c, NB_ERR_ARGUMENT, "a pad cannot be negative", "%lld before, %lld after",
                         (long long)p->before, (long long)p->after);
    *out = nbi_shape_in(x);
    int64_t *n = &out->dims[p->axis];
    if (__builtin_add_overflow(*n, p->before, n) || __builtin_add_overflow(*n, p->after, n))
        return nb_refuse(c, NB_ERR_OVERFLOW, "the axis overflows", NULL);
    return NB_OK;
}

/* Each line of the result is its frame's front, x's elements, its frame's back. */
static nb_code pad_forward(const nb_call *c)
{
    const pad_state *p = c->state;
    const nb_array *x = &c->in[0], *y = c->out;
    if (y->size == 0)
        return NB_OK;
    nbi_split s = nbi_split_at(y->rank, y->dims, p->axis);
    int64_t front = p->before * s.inner, back = p->after * s.inner;
    int64_t middle = x->dims[p->axis] * s.inner;
    for (int64_t o = 0; o < s.outer; o++) {
        char *line = nbi_place(y->dtype, y->data, o * s.n * s.inner);
        nbi_fill(y->dtype, front, line, p->value);
        nbi_move_run(y->dtype, middle, nbi_place(y->dtype, line, front),
                     nbi_place(y->dtype, x->data, o * middle), false);
        nbi_fill(y->dtype, back, nbi_place(y->dtype, line, front + middle), p->value);
    }
    return NB_OK;
}

static nb_code pad_reverse(const nb_rule *r)
{
    const pad_state *p = r->state;
    int64_t n = nb_dim(r->in[0], p->axis);
    r->d[0] = nb_slice(r->g, p->axis, p->before, p->before + n, 1);
    return NB_OK;
}

static nb_code pad_reverse_arrays(const nb_call *c, const nb_array *g, nb_array *const *gin,
                                  const bool *add)
{
    const pad_state *p = c->state;
    if (!gin[0] || gin[0]->size == 0)
        return NB_OK;
    nbi_split s = nbi_split_at(g->rank, g->dims, p->axis);
    int64_t middle = gin[0]->dims[p->axis] * s.inner;
    nbi_walk w = {0};
    nbi_walk_axis(&w, s.outer, middle, s.n * s.inner);
    nbi_walk_axis(&w, middle, 1, 1);
    nbi_move(g->dtype, &w, gin[0]->data, nbi_place(g->dtype, g->data, p->before * s.inner), add[0]);
    return NB_OK;
}

static nb_code pad_tangent(const nb_rule *r)
{
    const pad_state *p = r->state;
    r->d[0] = nb_pad(r->t[0], p->axis, p->before, p->after, 0);
    return NB_OK;
}

static nb_var pad_sample(nb_sampler *s, int k)
{
    nb_var x = nb_sample(s, k == 4 ? NB_SHAPE(2, 0, 3) : NB_SHAPE(2, 3, 4), -2, 2);
    switch (k) {
    case 0: return nb_pad(nb_sample(s, NB_SHAPE(5), -2, 2), 0, 2, 1, 0.5);
    case 1: return nb_pad(x, 0, 1, 0, 0);
    case 2: return nb_pad(x, 1, 0, 2, -1);
    case 3: return nb_pad(x, -1, 1, 1, 0);
    case 4: return nb_pad(x, 1, 1, 1, 3);
    case 5: return nb_pad(x, 1, 0, 0, 0);
    default: return NB_NONE;
    }
}

const nb_op nbi_op_pad = {
    .name = "pad",
    .doc = "a constant frame before and after along an axis",
    .shape = pad_shape,
    .forward = pad_forward,
    .reverse = pad_reverse,
    .reverse_arrays = pad_reverse_arrays,
    .overwrites = true,
    .tangent = pad_tangent,
    .sample = pad_sample,
};

nb_var(nb_pad)(nb_var x, int axis, int64_t before, int64_t after, double value)
{
    pad_state p = {axis, before, after, value};
    return nb_apply(&nbi_op_pad, 1, &x, &p, sizeof p);
}
