/*
 * Permutations of elements that keep all of them: axes in another order, axes walked backwards.
 *
 *     permute     y[i0 i1 …] = x[j0 j1 …]    where j(order[k]) = ik
 *     transpose   the same, exchanging the last two axes
 *     flip        y[… i …]  = x[… n-1-i …]   on each axis named
 *
 * The matrix of such a map is a permutation matrix, whose transpose is its inverse. So the adjoint
 * takes the way back: the inverse order for permute, the same exchange and the same flip again for
 * the other two, which are their own inverses.
 *
 * All three are one walk over the result, densely, with the source's strides permuted or negated.
 * The reverse rule over arrays is that walk with its two sides exchanged.
 */
#include "ops/array.h"
#include "ops/axis.h"
#include "ops/records.h"
#include "tape/tape.h"
#include <nabla/ops.h>

/* y = x or y += x, where axis i of y is axis order[i] of x. x has elements. */
static void permute_into(const nb_tape *t, const nb_array *y, const nb_array *x, const int *order,
                         bool add)
{
    int64_t from[NB_MAX_RANK], to[NB_MAX_RANK], dims[NB_MAX_RANK];
    nbi_walk w = {0};
    nbi_strides(x->rank, x->dims, from);
    for (int i = 0; i < x->rank; i++)
        dims[i] = x->dims[order[i]];
    nbi_strides(x->rank, dims, to);
    for (int i = 0; i < x->rank; i++)
        nbi_walk_axis(&w, dims[i], to[i], from[order[i]]);
    nbi_move_by(&t->crew, x->dtype, &w, y->data, x->data, add);
}

static void permute_shape_of(const nb_array *x, const int *order, nb_shape *out)
{
    out->rank = x->rank;
    for (int i = 0; i < x->rank; i++)
        out->dims[i] = x->dims[order[i]];
}

/* ---- permute --------------------------------------------------------------------------------- */

static nb_axes inverse(const nb_axes *order)
{
    nb_axes back = {.count = order->count};
    for (int i = 0; i < order->count; i++)
        back.axis[order->axis[i]] = i;
    return back;
}

static nb_code permute_shape(const nb_call *c, nb_shape *out)
{
    nb_axes *order = c->state;
    bool named[NB_MAX_RANK];
    int rank = c->in[0].rank;
    if (!nbi_needs_tensor(c, 0))
        return NB_ERR_SHAPE;
    if (!nbi_axes_mask(c, *order, rank, named))
        return NB_ERR_AXIS;
    if (order->count != rank)
        return nb_refuse(c, NB_ERR_AXIS, "the order must name every axis",
                         "%d are named, the operand has %d", order->count, rank);
    for (int i = 0; i < rank; i++)
        nbi_axis(c, &order->axis[i], rank);
    permute_shape_of(&c->in[0], order->axis, out);
    return NB_OK;
}

static nb_code permute_forward(const nb_call *c)
{
    const nb_axes *order = c->state;
    if (c->out->size)
        permute_into(c->tape, c->out, &c->in[0], order->axis, false);
    return NB_OK;
}

static nb_code permute_reverse(const nb_rule *r)
{
    r->d[0] = nb_permute(r->g, inverse(r->state));
    return NB_OK;
}

static nb_code permute_reverse_arrays(const nb_call *c, const nb_array *g, nb_array *const *gin,
                                      const bool *add)
{
    nb_axes back = inverse(c->state);
    if (gin[0] && g->size)
        permute_into(c->tape, gin[0], g, back.axis, add[0]);
    return NB_OK;
}

static nb_code permute_tangent(const nb_rule *r)
{
    const nb_axes *order = r->state;
    r->d[0] = nb_permute(r->t[0], *order);
    return NB_OK;
}

static nb_var permute_sample(nb_sampler *s, int k)
{
    nb_var x = nb_sample(s, k == 3 ? NB_SHAPE(0, 2, 3) : NB_SHAPE(2, 3, 4), -2, 2);
    nb_var y = nb_sample(s, NB_SHAPE(2, 1, 3, 1, 2, 1, 2, 2), -2, 2);
    switch (k) {
    case 0: return nb_permute(x, NB_AXES(2, 0, 1));
    case 1: return nb_permute(x, NB_AXES(-1, 1, -3));
    case 2: return nb_permute(x, NB_AXES(0, 1, 2));
    case 3: return nb_permute(x, NB_AXES(1, 2, 0));
    case 4: return nb_permute(y, NB_AXES(7, 2, 0, 1, 6, 3, 5, 4));
    case 5: return nb_permute(nb_sample(s, NB_POINT, -2, 2), (nb_axes){.count = 0});
    default: return NB_NONE;
    }
}

const nb_op nbi_op_permute = {
    .name = "permute",
    .doc = "axes in another order",
    .shape = permute_shape,
    .forward = permute_forward,
    .reverse = permute_reverse,
    .reverse_arrays = permute_reverse_arrays,
    .overwrites = true,
    .tangent = permute_tangent,
    .sample = permute_sample,
};

nb_var(nb_permute)(nb_var x, nb_axes order)
{
    return nb_apply(&nbi_op_permute, 1, &x, &order, sizeof order);
}

/* ---- transpose ------------------------------------------------------------------------------- */

static void exchange(int rank, int *order)
{
    for (int i = 0; i < rank; i++)
        order[i] = i;
    order[rank - 2] = rank - 1;
    order[rank - 1] = rank - 2;
}

static nb_code transpose_shape(const nb_call *c, nb_shape *out)
{
    const nb_array *x = &c->in[0];
    int order[NB_MAX_RANK];
    if (x->rank < 2)
        return nb_refuse(c, NB_ERR_SHAPE, "needs a matrix, or a batch of them", NULL);
    exchange(x->rank, order);
    permute_shape_of(x, order, out);
    return NB_OK;
}

static nb_code transpose_forward(const nb_call *c)
{
    int order[NB_MAX_RANK];
    exchange(c->out->rank, order);
    if (c->out->size)
        permute_into(c->tape, c->out, &c->in[0], order, false);
    return NB_OK;
}

static nb_code transpose_reverse(const nb_rule *r)
{
    r->d[0] = nb_transpose(r->g);
    return NB_OK;
}

static nb_code transpose_reverse_arrays(const nb_call *c, const nb_array *g, nb_array *const *gin,
                                        const bool *add)
{
    int order[NB_MAX_RANK];
    (void)c;
    exchange(g->rank, order);
    if (gin[0] && g->size)
        permute_into(c->tape, gin[0], g, order, add[0]);
    return NB_OK;
}

static nb_code transpose_tangent(const nb_rule *r)
{
    r->d[0] = nb_transpose(r->t[0]);
    return NB_OK;
}

static nb_var transpose_sample(nb_sampler *s, int k)
{
    switch (k) {
    case 0: return nb_transpose(nb_sample(s, NB_SHAPE(3, 5), -2, 2));
    case 1: return nb_transpose(nb_sample(s, NB_SHAPE(2, 3, 4), -2, 2));
    case 2: return nb_transpose(nb_sample(s, NB_SHAPE(1, 7), -2, 2));
    case 3: return nb_transpose(nb_sample(s, NB_SHAPE(4, 0), -2, 2));
    default: return NB_NONE;
    }
}

const nb_op nbi_op_transpose = {
    .name = "transpose",
    .doc = "the last two axes exchanged",
    .shape = transpose_shape,
    .forward = transpose_forward,
    .reverse = transpose_reverse,
    .reverse_arrays = transpose_reverse_arrays,
    .overwrites = true,
    .tangent = transpose_tangent,
    .sample = transpose_sample,
};

nb_var(nb_transpose)(nb_var x) { return nb_apply(&nbi_op_transpose, 1, &x, NULL, 0); }

/* ---- flip ------------------------------------------------------------------------------------ */

/* y = x or y += x, with the axes of the mask walked backwards in x. x has elements. */
static void flip_into(const nb_tape *t, const nb_array *y, const nb_array *x, const bool *mask,
                      bool add)
{
    int64_t stride[NB_MAX_RANK], last = 0;
    nbi_walk w = {0};
    nbi_strides(x->rank, x->dims, stride);
    for (int i = 0; i < x->rank; i++) {
        nbi_walk_axis(&w, x->dims[i], stride[i], mask[i] ? -stride[i] : stride[i]);
        last += mask[i] ? (x->dims[i] - 1) * stride[i] : 0;
    }
    nbi_move_by(&t->crew, x->dtype, &w, y->data, nbi_place(x->dtype, x->data, last), add);
}

static nb_code flip_shape(const nb_call *c, nb_shape *out)
{
    const nb_axes *axes = c->state;
    bool mask[NB_MAX_RANK];
    if (!nbi_needs_tensor(c, 0))
        return NB_ERR_SHAPE;
    if (!nbi_axes_mask(c, *axes, c->in[0].rank, mask))
        return NB_ERR_AXIS;
    *out = nbi_shape_in(&c->in[0]);
    return NB_OK;
}

static nb_code flip_forward(const nb_call *c)
{
    const nb_axes *axes = c->state;
    bool mask[NB_MAX_RANK];
    nbi_axes_mask(c, *axes, c->in[0].rank, mask);
    if (c->out->size)
        flip_into(c->tape, c->out, &c->in[0], mask, false);
    return NB_OK;
}

static nb_code flip_reverse(const nb_rule *r)
{
    const nb_axes *axes = r->state;
    r->d[0] = nb_flip(r->g, *axes);
    return NB_OK;
}

static nb_code flip_reverse_arrays(const nb_call *c, const nb_array *g, nb_array *const *gin,
                                   const bool *add)
{
    const nb_axes *axes = c->state;
    bool mask[NB_MAX_RANK];
    nbi_axes_mask(c, *axes, g->rank, mask);
    if (gin[0] && g->size)
        flip_into(c->tape, gin[0], g, mask, add[0]);
    return NB_OK;
}

static nb_code flip_tangent(const nb_rule *r)
{
    const nb_axes *axes = r->state;
    r->d[0] = nb_flip(r->t[0], *axes);
    return NB_OK;
}

static nb_var flip_sample(nb_sampler *s, int k)
{
    switch (k) {
    case 0: return nb_flip(nb_sample(s, NB_SHAPE(7), -2, 2), NB_AXES(0));
    case 1: return nb_flip(nb_sample(s, NB_SHAPE(2, 3, 4), -2, 2), NB_AXES(-1, 0));
    case 2: return nb_flip(nb_sample(s, NB_SHAPE(2, 3, 4), -2, 2), NB_AXES(1));
    case 3: return nb_flip(nb_sample(s, NB_SHAPE(1, 2, 3, 1, 2, 1, 2, 2), -2, 2), NB_ALL);
    case 4: return nb_flip(nb_sample(s, NB_SHAPE(0, 3), -2, 2), NB_ALL);
    case 5: return nb_flip(nb_sample(s, NB_POINT, -2, 2), NB_ALL);
    default: return NB_NONE;
    }
}

const nb_op nbi_op_flip = {
    .name = "flip",
    .doc = "axes walked backwards",
    .shape = flip_shape,
    .forward = flip_forward,
    .reverse = flip_reverse,
    .reverse_arrays = flip_reverse_arrays,
    .overwrites = true,
    .tangent = flip_tangent,
    .sample = flip_sample,
};

nb_var(nb_flip)(nb_var x, nb_axes axes)
{
    return nb_apply(&nbi_op_flip, 1, &x, &axes, sizeof axes);
}
