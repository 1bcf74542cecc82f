/*
 * Selecting rows by an index array.
 *
 *     index_select   y[o, j, i] = x[o, index[j], i]         the same indices for every line
 *     embedding      y[j…, i] = table[index[j…], i]         that, for rows and any shape of index
 *     unselect       x[o, index[j], i] += y[o, j, i]        from zeros
 *
 * The matrix of a selection S has one 1 in each row. Its transpose adds every row to the place that
 * it was read from, and a place that was read several times collects them all: that is unselect,
 * the reverse rule of the other two, whose own reverse rule is to select again.
 */
#include "ops/axis.h"
#include "ops/indices.h"
#include "ops/records.h"
#include <nabla/ops.h>

static nb_code rows_forward(const nb_call *c)
{
    nbi_read_by(c, false, c->out, &c->in[0], false);
    return NB_OK;
}

static nb_code rows_reverse_arrays(const nb_call *c, const nb_array *g, nb_array *const *gin,
                                   const bool *add)
{
    return nbi_unread(c, false, g, gin, add);
}

/* ---- index_select ---------------------------------------------------------------------------- */

static nb_var unselect(nb_var y, const nbi_indices *s);

static nb_code index_select_shape(const nb_call *c, nb_shape *out)
{
    nbi_indices *s = c->state;
    nb_code code = nbi_indexed_axis(c, s);
    if (code != NB_OK)
        return code;
    *out = nbi_shape_in(&c->in[0]);
    out->dims[s->axis] = s->shape.dims[0];
    return nbi_take_indices(c, s);
}

static nb_code index_select_reverse(const nb_rule *r)
{
    r->d[0] = unselect(r->g, r->state);
    return NB_OK;
}

static nb_var select_again(nb_var x, const nbi_indices *s)
{
    return nb_index_select(x, s->axis, (size_t)s->shape.dims[0], s->index);
}

static nb_code index_select_tangent(const nb_rule *r)
{
    r->d[0] = select_again(r->t[0], r->state);
    return NB_OK;
}

static nb_var index_select_sample(nb_sampler *s, int k)
{
    static const int64_t index[] = {2, 0, -1, 2, 1};
    nb_var v = nb_sample(s, NB_SHAPE(4), -2, 2), x = nb_sample(s, NB_SHAPE(3, 4, 3), -2, 2);
    switch (k) {
    case 0: return nb_index_select(v, 0, 5, index);
    case 1: return nb_index_select(x, 0, 4, index);
    case 2: return nb_index_select(x, 1, 5, index);
    case 3: return nb_index_select(x, -1, 2, index);
    case 4: return nb_index_select(x, 1, 0, NULL);
    case 5: return nb_index_select(nb_sample(s, NB_SHAPE(3, 0), -2, 2), 0, 3, index);
    case 6:
        return nb_index_select(nb_sample(s, NB_SHAPE(2, 11), -2, 2), 0, 3, (int64_t[]){1, 1, 0});
    default: return NB_NONE;
    }
}

const nb_op nbi_op_index_select = {
    .name = "index_select",
    .doc = "the places of an axis that the indices name",
    .shape = index_select_shape,
    .forward = rows_forward,
    .reverse = index_select_reverse,
    .reverse_arrays = rows_reverse_arrays,
    .overwrites = true,
    .tangent = index_select_tangent,
    .sample = index_select_sample,
};

nb_var(nb_index_select)(nb_var x, int axis, size_t n, const int64_t *index)
{
    int64_t count = n > INT64_MAX ? -1 : (int64_t)n; /* -1 is refused as a shape */
    nbi_indices s = {.index = index, .shape = NB_SHAPE(count), .axis = axis};
    return nb_apply(&nbi_op_index_select, 1, &x, &s, sizeof s);
}

/* ---- unselect -------------------------------------------------------------------------------- */

static nb_code unselect_shape(const nb_call *c, nb_shape *out)
{
    nbi_indices *s = c->state;
    *out = nbi_shape_in(&c->in[0]);
    out->dims[s->axis] = s->n;
    return nbi_take_indices(c, s);
}

static nb_code unselect_forward(const nb_call *c)
{
    nbi_clear(c->out, false);
    return nbi_add_by(c, false, c->out, &c->in[0]);
}

static nb_code unselect_reverse(const nb_rule *r)
{
    r->d[0] = select_again(r->g, r->state);
    return NB_OK;
}

static nb_code unselect_reverse_arrays(const nb_call *c, const nb_array *g, nb_array *const *gin,
                                       const bool *add)
{
    if (gin[0])
        nbi_read_by(c, false, gin[0], g, add[0]);
    return NB_OK;
}

static nb_code unselect_tangent(const nb_rule *r)
{
    r->d[0] = unselect(r->t[0], r->state);
    return NB_OK;
}

static nb_var unselect_sample(nb_sampler *s, int k)
{
    static const int64_t index[] = {2, 0, 3, 2};
    nbi_indices rows = {index, NB_SHAPE(4), 5, 0}, columns = {index, NB_SHAPE(4), 4, 1};
    switch (k) {
    case 0: return unselect(nb_sample(s, NB_SHAPE(4), -2, 2), &rows);
    case 1: return unselect(nb_sample(s, NB_SHAPE(2, 4, 3), -2, 2), &columns);
    case 2: return unselect(nb_sample(s, NB_SHAPE(4, 0), -2, 2), &rows);
    default: return NB_NONE;
    }
}

const nb_op nbi_op_unselect = {
    .name = "unselect",
    .doc = "added to zeros at the places that the indices name",
    .shape = unselect_shape,
    .forward = unselect_forward,
    .reverse = unselect_reverse,
    .reverse_arrays = unselect_reverse_arrays,
    .overwrites = true,
    .tangent = unselect_tangent,
    .sample = unselect_sample,
};

static nb_var unselect(nb_var y, const nbi_indices *s)
{
    return nb_apply(&nbi_op_unselect, 1, &y, s, sizeof *s);
}

/* ---- embedding ------------------------------------------------------------------------------- */

static nb_code embedding_shape(const nb_call *c, nb_shape *out)
{
    nbi_indices *s = c->state;
    const nb_array *table = &c->in[0];
    if (table->rank != 2)
        return nb_refuse(c, NB_ERR_SHAPE, "the table must be a matrix", NULL);
    nb_code code = nbi_indexed_axis(c, s);
    if (code != NB_OK)
        return code;
    if (s->shape.rank == NB_MAX_RANK)
        return nb_refuse(c, NB_ERR_SHAPE, "the result has too many dimensions", "%d are the most",
                         NB_MAX_RANK);
    *out = s->shape;
    out->dims[out->rank++] = table->dims[1];
    return nbi_take_indices(c, s);
}

/* g [shape… d] as rows [n d], added to the rows of the table [v d]. */
static nb_code embedding_reverse(const nb_rule *r)
{
    nbi_indices rows = *(const nbi_indices *)r->state;
    int64_t n = nb_shape_size(rows.shape);
    rows.shape = NB_SHAPE(n);
    r->d[0] = unselect(nb_reshape(r->g, NB_SHAPE(n, nb_dim(r->g, -1))), &rows);
    return NB_OK;
}

static nb_code embedding_tangent(const nb_rule *r)
{
    const nbi_indices *s = r->state;
    r->d[0] = nb_embedding(r->t[0], s->shape, s->index);
    return NB_OK;
}

static nb_var embedding_sample(nb_sampler *s, int k)
{
    static const int64_t index[] = {3, 0, -1, 2, 0, 1};
    nb_var table = nb_sample(s, NB_SHAPE(4, 3), -2, 2);
    switch (k) {
    case 0: return nb_embedding(table, NB_SHAPE(6), index);
    case 1: return nb_embedding(table, NB_SHAPE(2, 3), index);
    case 2: return nb_embedding(table, NB_POINT, index);
    case 3: return nb_embedding(table, NB_SHAPE(1, 2, 1, 3, 1, 1, 1), index);
    case 4: return nb_embedding(table, NB_SHAPE(2, 0), NULL);
    default: return NB_NONE;
    }
}

const nb_op nbi_op_embedding = {
    .name = "embedding",
    .doc = "the rows of a table that the indices name",
    .shape = embedding_shape,
    .forward = rows_forward,
    .reverse = embedding_reverse,
    .reverse_arrays = rows_reverse_arrays,
    .overwrites = true,
    .tangent = embedding_tangent,
    .sample = embedding_sample,
};

nb_var(nb_embedding)(nb_var table, nb_shape shape, const int64_t *index)
{
    nbi_indices s = {.index = index, .shape = shape};
    return nb_apply(&nbi_op_embedding, 1, &table, &s, sizeof s);
}
