/*
 * Reading and adding with an index for each element.
 *
 *     gather        y[o, j, i] = x[o, index[o, j, i], i]
 *     scatter_add   y = x, then y[o, index[o, j, i], i] += source[o, j, i]
 *
 * The index array has the operand's size on every axis but one. Gather's matrix G has one 1 in each
 * row; scatter_add is y = x + G^T source. So the adjoint of what was gathered is scattered to
 * zeros, and the adjoint of what was scattered is gathered, while that of x passes unchanged.
 */
#include "base/shape.h"
#include "ops/indices.h"
#include "ops/records.h"
#include <nabla/ops.h>

/* An index array for each element has the operand's rank and its sizes on the other axes. */
static nb_code fit_each(const nb_call *c, const nbi_indices *s)
{
    const nb_array *x = &c->in[0];
    if (s->shape.rank != x->rank)
        return nb_refuse(c, NB_ERR_SHAPE, "the indices have another rank", "%d axes, x has %d",
                         s->shape.rank, x->rank);
    for (int i = 0; i < x->rank; i++)
        if (i != s->axis && s->shape.dims[i] != x->dims[i])
            return nb_refuse(c, NB_ERR_SHAPE, "the indices do not fit on another axis",
                             "axis %d has size %lld, x has %lld", i, (long long)s->shape.dims[i],
                             (long long)x->dims[i]);
    return NB_OK;
}

/* ---- gather ---------------------------------------------------------------------------------- */

static nb_code gather_shape(const nb_call *c, nb_shape *out)
{
    nbi_indices *s = c->state;
    nb_code code = nbi_indexed_axis(c, s);
    code = code == NB_OK ? fit_each(c, s) : code;
    *out = s->shape;
    return code == NB_OK ? nbi_take_indices(c, s) : code;
}

static nb_code gather_forward(const nb_call *c)
{
    nbi_read_by(c, true, c->out, &c->in[0], false);
    return NB_OK;
}

static nb_code gather_reverse(const nb_rule *r)
{
    const nbi_indices *s = r->state;
    nb_var zeros = nb_zeros(r->tape, nb_shape_of(r->in[0]));
    r->d[0] = nb_scatter_add(zeros, s->axis, s->shape, s->index, r->g);
    return NB_OK;
}

static nb_code gather_reverse_arrays(const nb_call *c, const nb_array *g, nb_array *const *gin,
                                     const bool *add)
{
    return nbi_unread(c, true, g, gin, add);
}

static nb_var gather_again(nb_var x, const nbi_indices *s)
{
    return nb_gather(x, s->axis, s->shape, s->index);
}

static nb_code gather_tangent(const nb_rule *r)
{
    r->d[0] = gather_again(r->t[0], r->state);
    return NB_OK;
}

/* Example k of an operand, and of indices into it with repetitions; false past the last. */
static bool example(nb_sampler *s, int k, nb_var *x, nbi_indices *at)
{
    static const int64_t index[] = {2, 0, -1, 1, 2, 0,  1, 1, -2, 0, 2, 1,
                                    0, 2, 2,  1, 0, -3, 2, 1, 0,  1, 2, 2};
    static const nbi_indices indices[] = {
        {index, {1, {4}}, 3, 0},
        {index, {2, {4, 3}}, 3, 0},
        {index, {2, {2, 5}}, 4, -1},
        {index, {3, {2, 3, 2}}, 3, 1},
        {index, {3, {2, 0, 2}}, 3, 1},
        {index, {2, {2, 11}}, 3, 0},
        {index, {8, {1, 2, 1, 2, 1, 3, 1, 1}}, 3, 1},
    };
    if (k >= (int)(sizeof indices / sizeof *indices))
        return false;
    *at = indices[k];
    nb_shape shape = at->shape;
    shape.dims[at->axis < 0 ? at->axis + shape.rank : at->axis] = at->n;
    *x = nb_sample(s, shape, -2, 2);
    return true;
}

static nb_var gather_sample(nb_sampler *s, int k)
{
    nb_var x;
    nbi_indices at;
    return example(s, k, &x, &at) ? gather_again(x, &at) : NB_NONE;
}

const nb_op nbi_op_gather = {
    .name = "gather",
    .doc = "along an axis, the element that each index names",
    .shape = gather_shape,
    .forward = gather_forward,
    .reverse = gather_reverse,
    .reverse_arrays = gather_reverse_arrays,
    .overwrites = true,
    .tangent = gather_tangent,
    .sample = gather_sample,
};

nb_var(nb_gather)(nb_var x, int axis, nb_shape shape, const int64_t *index)
{
    nbi_indices s = {.index = index, .shape = shape, .axis = axis};
    return nb_apply(&nbi_op_gather, 1, &x, &s, sizeof s);
}

/* ---- scatter_add ----------------------------------------------------------------------------- */

static nb_code scatter_add_shape(const nb_call *c, nb_shape *out)
{
    nbi_indices *s = c->state;
    char text[NBI_SHAPE_TEXT];
    nb_code code = nbi_indexed_axis(c, s);
    code = code == NB_OK ? fit_each(c, s) : code;
    if (code != NB_OK)
        return code;
    if (!nb_shape_equal(nbi_shape_in(&c->in[1]), s->shape))
        return nb_refuse(c, NB_ERR_SHAPE, "the source has not the shape of the indices",
                         "the indices are %s", nbi_shape_text(text, s->shape.rank, s->shape.dims));
    *out = nbi_shape_in(&c->in[0]);
    return nbi_take_indices(c, s);
}

static nb_code scatter_add_forward(const nb_call *c)
{
    nbi_move_run(c->out->dtype, c->out->size, c->out->data, c->in[0].data, false);
    return nbi_add_by(c, true, c->out, &c->in[1]);
}

static nb_code scatter_add_reverse(const nb_rule *r)
{
    if (r->want[0])
        r->d[0] = r->g;
    if (r->want[1])
        r->d[1] = gather_again(r->g, r->state);
    return NB_OK;
}

static nb_code scatter_add_reverse_arrays(const nb_call *c, const nb_array *g, nb_array *const *gin,
                                          const bool *add)
{
    if (gin[0])
        nbi_move_run(g->dtype, g->size, gin[0]->data, g->data, add[0]);
    if (gin[1])
        nbi_read_by(c, true, gin[1], g, add[1]);
    return NB_OK;
}

static nb_code scatter_add_tangent(const nb_rule *r)
{
    const nbi_indices *s = r->state;
    if (!r->want[1]) {
        r->d[0] = r->t[0];
        return NB_OK;
    }
    nb_var x = r->want[0] ? r->t[0] : nb_zeros(r->tape, nb_shape_of(r->in[0]));
    r->d[0] = nb_scatter_add(x, s->axis, s->shape, s->index, r->t[1]);
    return NB_OK;
}

static nb_var scatter_add_sample(nb_sampler *s, int k)
{
    nb_var x;
    nbi_indices at;
    if (!example(s, k, &x, &at))
        return NB_NONE;
    return nb_scatter_add(x, at.axis, at.shape, at.index, nb_sample(s, at.shape, -2, 2));
}

const nb_op nbi_op_scatter_add = {
    .name = "scatter_add",
    .doc = "adds each element of a source where its index says",
    .shape = scatter_add_shape,
    .forward = scatter_add_forward,
    .reverse = scatter_add_reverse,
    .reverse_arrays = scatter_add_reverse_arrays,
    .overwrites = true,
    .tangent = scatter_add_tangent,
    .sample = scatter_add_sample,
};

nb_var(nb_scatter_add)(nb_var x, int axis, nb_shape shape, const int64_t *index, nb_var source)
{
    nbi_indices s = {.index = index, .shape = shape, .axis = axis};
    return nb_apply(&nbi_op_scatter_add, 2, (nb_var[]){x, source}, &s, sizeof s);
}
