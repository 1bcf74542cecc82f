/*
 * Index arrays: the contracts are in indices.h.
 *
 * Reading is a linear map whose matrix has one 1 in each row, so the transpose has one 1 in each
 * column: every element is added to the place that it was read from, and a place that was read
 * several times collects them all. The kernels do both; here the indices are made safe for them,
 * and the scratch is found in which a float sum is kept in double.
 */
#include "ops/indices.h"

#include "kernels/pick.h"
#include "ops/axis.h"
#include "tape/tape.h"

nb_code nbi_indexed_axis(const nb_call *c, nbi_indices *s)
{
    const nb_array *x = &c->in[0];
    if (!nbi_needs_tensor(c, 0) || !nbi_needs_shape(c, &s->shape))
        return NB_ERR_SHAPE;
    if (!nbi_axis(c, &s->axis, x->rank))
        return NB_ERR_AXIS;
    s->n = x->dims[s->axis];
    return NB_OK;
}

nb_code nbi_take_indices(const nb_call *c, nbi_indices *s)
{
    int64_t count = nb_shape_size(s->shape);
    size_t bytes;
    if (count > 0 && !s->index)
        return nb_refuse(c, NB_ERR_ARGUMENT, "the indices are NULL", NULL);
    for (int64_t i = 0; i < count; i++)
        if (s->index[i] < -s->n || s->index[i] >= s->n)
            return nb_refuse(c, NB_ERR_INDEX, "an index lies outside its axis",
                             "index %lld at place %lld, axis %d has size %lld",
                             (long long)s->index[i], (long long)i, s->axis, (long long)s->n);
    if (__builtin_mul_overflow((size_t)count, sizeof *s->index, &bytes))
        return nb_refuse(c, NB_ERR_OVERFLOW, "the number of indices overflows", NULL);
    int64_t *copy = nb_keep(c, bytes);
    if (!copy)
        return NB_ERR_MEMORY;
    for (int64_t i = 0; i < count; i++)
        copy[i] = s->index[i] < 0 ? s->index[i] + s->n : s->index[i];
    s->index = copy;
    return NB_OK;
}

/* The indices of a whole row, or one for each element, as the kernels see them. The array that is
 * indexed has elements. */
static nbi_pick pick_of(const nbi_indices *s, const nb_array *array, bool each)
{
    nbi_split at = nbi_split_at(array->rank, array->dims, s->axis);
    int64_t count = each ? s->shape.dims[s->axis] : nb_shape_size(s->shape);
    return (nbi_pick){at.outer, at.n, at.inner, count, s->index, each};
}

void nbi_read_by(const nb_call *c, bool each, const nb_array *picked, const nb_array *array,
                 bool add)
{
    if (picked->size == 0)
        return;
    nbi_pick p = pick_of(c->state, array, each);
    nbi_gather(&c->tape->crew, picked->dtype, &p, picked->data, array->data, add);
}

nb_code nbi_add_by(const nb_call *c, bool each, const nb_array *array, const nb_array *picked)
{
    if (picked->size == 0)
        return NB_OK;
    nbi_pick p = pick_of(c->state, array, each);
    nbi_spot spot = c->tape->scratch.at;
    size_t bytes = nbi_scatter_scratch(array->dtype, &p);
    void *scratch = bytes ? nbi_scratch(c->tape, bytes) : NULL;
    if (bytes && !scratch)
        return nbi_no_memory(c->tape, c->op->name);
    nbi_scatter(array->dtype, &p, array->data, picked->data, scratch);
    nbi_give_back(&c->tape->scratch, spot);
    return NB_OK;
}

nb_code nbi_unread(const nb_call *c, bool each, const nb_array *g, nb_array *const *gin,
                   const bool *add)
{
    if (!gin[0])
        return NB_OK;
    nbi_clear(gin[0], add[0]);
    return nbi_add_by(c, each, gin[0], g);
}
