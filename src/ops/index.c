/*
 * One element, as a scalar.
 *
 *     at      y = x[i0, i1, …]                 a tensor's element to a scalar
 *     place   x = 0 but for x[i0, i1, …] = y   a scalar to a tensor's element
 *
 * at's matrix is a row of the identity, place's is its transpose, the column; each is the other's
 * reverse rule. Over arrays the adjoint of at is one addition, once the buffer holds anything: a
 * loop that reads all elements of a tensor one by one stays linear in their number.
 *
 * masked_fill stands here for its neighbours' sake: it is a selection between two operands, and the
 * table of derivatives has that already.
 */
#include "ops/array.h"
#include "ops/records.h"
#include <nabla/ops.h>

/* ---- at -------------------------------------------------------------------------------------- */

typedef struct at_state {
    size_t n;
    int64_t index[NB_MAX_RANK]; /* not negative, after the shape rule */
    bool missing;               /* the caller gave no indices where some are needed */
} at_state;

typedef struct place_state {
    nb_shape shape;
    at_state at;
} place_state;

static nb_var place(nb_var y, nb_shape shape, const at_state *at);

static int64_t offset(const at_state *a, const int64_t *dims)
{
    int64_t at = 0;
    for (size_t i = 0; i < a->n; i++)
        at = at * dims[i] + a->index[i];
    return at;
}

static nb_code at_shape(const nb_call *c, nb_shape *out)
{
    at_state *a = c->state;
    const nb_array *x = &c->in[0];
    if (!nbi_needs_tensor(c, 0))
        return NB_ERR_SHAPE;
    if (a->n != (size_t)x->rank)
        return nb_refuse(c, NB_ERR_INDEX, "needs one index for each axis", "%zu are given, axes %d",
                         a->n, x->rank);
    if (a->missing)
        return nb_refuse(c, NB_ERR_ARGUMENT, "the indices are NULL", NULL);
    for (int i = 0; i < x->rank; i++) {
        int64_t given = a->index[i], n = x->dims[i];
        if (given < -n || given >= n)
            return nb_refuse(c, NB_ERR_INDEX, "an index lies outside its axis",
                             "index %lld, axis %d has size %lld", (long long)given, i,
                             (long long)n);
        a->index[i] = given < 0 ? given + n : given;
    }
    out->rank = -1;
    return NB_OK;
}

static nb_code at_forward(const nb_call *c)
{
    const nb_array *x = &c->in[0];
    nbi_put_at(c->out, 0, nbi_get_at(x, offset(c->state, x->dims)), false);
    return NB_OK;
}

static nb_code at_reverse(const nb_rule *r)
{
    r->d[0] = place(r->g, nb_shape_of(r->in[0]), r->state);
    return NB_OK;
}

static nb_code at_reverse_arrays(const nb_call *c, const nb_array *g, nb_array *const *gin,
                                 const bool *add)
{
    if (gin[0]) {
        nbi_clear(gin[0], add[0]);
        nbi_put_at(gin[0], offset(c->state, gin[0]->dims), nbi_get_at(g, 0), true);
    }
    return NB_OK;
}

static nb_code at_tangent(const nb_rule *r)
{
    const at_state *a = r->state;
    r->d[0] = nb_at_index(r->t[0], a->n, a->index);
    return NB_OK;
}

static nb_var at_sample(nb_sampler *s, int k)
{
    switch (k) {
    case 0: return nb_at_index(nb_sample(s, NB_SHAPE(5), -2, 2), 1, (int64_t[]){-2});
    case 1: return nb_at_index(nb_sample(s, NB_SHAPE(3, 4), -2, 2), 2, (int64_t[]){2, 0});
    case 2: return nb_at_index(nb_sample(s, NB_POINT, -2, 2), 0, NULL);
    case 3:
        return nb_at_index(nb_sample(s, NB_SHAPE(1, 2, 1, 2, 3, 1, 2, 2), -2, 2), 8,
                           (int64_t[]){0, 1, -1, 0, 2, 0, -1, 1});
    default: return NB_NONE;
    }
}

const nb_op nbi_op_at_index = {
    .name = "at",
    .doc = "one element of a tensor",
    .shape = at_shape,
    .forward = at_forward,
    .reverse = at_reverse,
    .reverse_arrays = at_reverse_arrays,
    .overwrites = true,
    .tangent = at_tangent,
    .sample = at_sample,
};

nb_var(nb_at_index)(nb_var x, size_t n, const int64_t *index)
{
    at_state a = {.n = n, .missing = n > 0 && !index};
    for (size_t i = 0; i < n && i < NB_MAX_RANK && index; i++)
        a.index[i] = index[i];
    return nb_apply(&nbi_op_at_index, 1, &x, &a, sizeof a);
}

/* ---- place ----------------------------------------------------------------------------------- */

static nb_code place_shape(const nb_call *c, nb_shape *out)
{
    const place_state *p = c->state;
    *out = p->shape;
    return NB_OK;
}

static nb_code place_forward(const nb_call *c)
{
    const place_state *p = c->state;
    nbi_clear(c->out, false);
    nbi_put_at(c->out, offset(&p->at, p->shape.dims), nbi_get_at(&c->in[0], 0), false);
    return NB_OK;
}

static nb_code place_reverse(const nb_rule *r)
{
    const place_state *p = r->state;
    r->d[0] = nb_at_index(r->g, p->at.n, p->at.index);
    return NB_OK;
}

static nb_code place_reverse_arrays(const nb_call *c, const nb_array *g, nb_array *const *gin,
                                    const bool *add)
{
    const place_state *p = c->state;
    if (gin[0])
        nbi_put_at(gin[0], 0, nbi_get_at(g, offset(&p->at, p->shape.dims)), add[0]);
    return NB_OK;
}

static nb_code place_tangent(const nb_rule *r)
{
    const place_state *p = r->state;
    r->d[0] = place(r->t[0], p->shape, &p->at);
    return NB_OK;
}

static nb_var place_sample(nb_sampler *s, int k)
{
    nb_var y = nb_sample_scalar(s, -2, 2);
    switch (k) {
    case 0: return place(y, NB_SHAPE(4), &(at_state){1, {2}, false});
    case 1: return place(y, NB_SHAPE(2, 3), &(at_state){2, {1, 0}, false});
    case 2: return place(y, NB_POINT, &(at_state){0, {0}, false});
    default: return NB_NONE;
    }
}

const nb_op nbi_op_place = {
    .name = "place",
    .doc = "a scalar as one element among zeros",
    .shape = place_shape,
    .forward = place_forward,
    .reverse = place_reverse,
    .reverse_arrays = place_reverse_arrays,
    .overwrites = true,
    .tangent = place_tangent,
    .sample = place_sample,
};

static nb_var place(nb_var y, nb_shape shape, const at_state *at)
{
    place_state p = {shape, *at};
    return nb_apply(&nbi_op_place, 1, &y, &p, sizeof p);
}

/* ---- masked fill ----------------------------------------------------------------------------- */

nb_var(nb_masked_fill)(nb_var x, nb_var mask, nb_var value) { return nb_where(mask, value, x); }
