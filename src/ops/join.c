/*
 * Putting arrays side by side.
 *
 *     concat   along an axis that all have: it grows, the other axes agree
 *     stack    along a new axis: all have one shape; or scalars, which make a vector
 *
 * Seen from the axis, the result is [outer] lines, each of which is made of one run from every
 * operand in turn:
 *
 *     y = | x0 x1 … |    by rows    |x0[0] x1[0] …|x0[1] x1[1] …| …
 *
 * An operand's run is its size divided by outer, so concat and stack differ in their shapes alone
 * and share all else. The matrix of the map is a permutation of the elements of all operands; the
 * adjoint is cut up again in the same way, each operand taking back its own part.
 */
#include "ops/array.h"
#include "ops/axis.h"
#include "ops/records.h"
#include "tape/tape.h"
#include <nabla/ops.h>

/* ---- the loops of both ----------------------------------------------------------------------- */

typedef struct join_state {
    int axis;
    bool scalars; /* what stack was given */
} join_state;

/* Moves between the joined array y and its part x, which begins at element `at` of each line. */
static void move_part(const nb_tape *t, const nb_array *y, const nb_array *x, int axis, int64_t at,
                      bool out, bool add)
{
    nbi_split s = nbi_split_at(y->rank, y->dims, axis);
    int64_t line = s.n * s.inner, run = x->size / s.outer;
    void *part = nbi_place(y->dtype, y->data, at);
    nbi_walk w = {0};
    nbi_walk_axis(&w, s.outer, out ? run : line, out ? line : run);
    nbi_walk_axis(&w, run, 1, 1);
    nbi_move_by(&t->crew, y->dtype, &w, out ? x->data : part, out ? part : x->data, add);
}

static nb_code join_forward(const nb_call *c)
{
    const join_state *j = c->state;
    if (c->out->size == 0)
        return NB_OK;
    int64_t at = 0, outer = nbi_split_at(c->out->rank, c->out->dims, j->axis).outer;
    for (size_t k = 0; k < c->n_in; at += c->in[k++].size / outer)
        if (c->in[k].rank < 0)
            nbi_put_at(c->out, at, nbi_get_at(&c->in[k], 0), false);
        else
            move_part(c->tape, c->out, &c->in[k], j->axis, at, false, false);
    return NB_OK;
}

static nb_code join_reverse_arrays(const nb_call *c, const nb_array *g, nb_array *const *gin,
                                   const bool *add)
{
    const join_state *j = c->state;
    if (g->size == 0)
        return NB_OK;
    int64_t at = 0, outer = nbi_split_at(g->rank, g->dims, j->axis).outer;
    for (size_t k = 0; k < c->n_in; at += c->in[k++].size / outer)
        if (gin[k] && gin[k]->rank < 0)
            nbi_put_at(gin[k], 0, nbi_get_at(g, at), add[k]);
        else if (gin[k])
            move_part(c->tape, g, gin[k], j->axis, at, true, add[k]);
    return NB_OK;
}

/* Joins the tangents, zeros where an operand has none. */
static nb_code join_tangent(const nb_rule *r)
{
    const join_state *j = r->state;
    nbi_spot spot = r->tape->scratch.at;
    nb_var *t = nbi_scratch(r->tape, r->n_in * sizeof *t);
    if (!t)
        return nbi_no_memory(r->tape, r->op->name);
    for (size_t k = 0; k < r->n_in; k++)
        t[k] = r->want[k]   ? r->t[k]
               : j->scalars ? nb_constant(r->tape, 0)
                            : nb_zeros(r->tape, nb_shape_of(r->in[k]));
    r->d[0] = nb_apply(r->op, r->n_in, t, j, sizeof *j);
    nbi_give_back(&r->tape->scratch, spot);
    return NB_OK;
}

/* ---- concat ---------------------------------------------------------------------------------- */

static nb_code concat_shape(const nb_call *c, nb_shape *out)
{
    join_state *j = c->state;
    for (size_t k = 0; k < c->n_in; k++)
        if (!nbi_needs_tensor(c, k))
            return NB_ERR_SHAPE;
    if (!nbi_axis(c, &j->axis, c->in[0].rank))
        return NB_ERR_AXIS;
    *out = nbi_shape_in(&c->in[0]);
    for (size_t k = 1; k < c->n_in; k++) {
        const nb_array *x = &c->in[k];
        if (x->rank != out->rank)
            return nb_refuse(c, NB_ERR_SHAPE, "ranks differ",
                             "operand 0 has %d axes, operand %zu %d", out->rank, k, x->rank);
        for (int i = 0; i < out->rank; i++)
            if (i != j->axis && x->dims[i] != out->dims[i])
                return nb_refuse(c, NB_ERR_SHAPE, "sizes differ along another axis",
                                 "axis %d has size %lld in operand 0, %lld in operand %zu", i,
                                 (long long)out->dims[i], (long long)x->dims[i], k);
        if (__builtin_add_overflow(out->dims[j->axis], x->dims[j->axis], &out->dims[j->axis]))
            return nb_refuse(c, NB_ERR_OVERFLOW, "the axis overflows", NULL);
    }
    return NB_OK;
}

/* Operand k takes back its slice. */
static nb_code concat_reverse(const nb_rule *r)
{
    const join_state *j = r->state;
    int64_t at = 0;
    for (size_t k = 0; k < r->n_in; k++) {
        int64_t n = nb_dim(r->in[k], j->axis);
        if (r->want[k])
            r->d[k] = nb_slice(r->g, j->axis, at, at + n, 1);
        at += n;
    }
    return NB_OK;
}

static nb_var concat_sample(nb_sampler *s, int k)
{
    nb_var v = nb_sample(s, NB_SHAPE(3), -2, 2), w = nb_sample(s, NB_SHAPE(1), -2, 2);
    nb_var x = nb_sample(s, NB_SHAPE(2, 3, 2), -2, 2), y = nb_sample(s, NB_SHAPE(2, 1, 2), -2, 2);
    nb_var z = nb_sample(s, NB_SHAPE(2, 0, 2), -2, 2);
    switch (k) {
    case 0: return nb_concat(2, (nb_var[]){v, w}, 0);
    case 1: return nb_concat(4, (nb_var[]){x, y, z, x}, 1);
    case 2: return nb_concat(2, (nb_var[]){x, x}, -1);
    case 3: return nb_concat(3, (nb_var[]){y, y, y}, 0);
    case 4: return nb_concat(1, (nb_var[]){x}, 2);
    case 5: return nb_concat(2, (nb_var[]){z, z}, 0);
    case 6: return nb_concat(6, (nb_var[]){w, v, v, w, w, v}, 0);
    default: return NB_NONE;
    }
}

const nb_op nbi_op_concat = {
    .name = "concat",
    .doc = "operands side by side along an axis",
    .shape = concat_shape,
    .forward = join_forward,
    .reverse = concat_reverse,
    .reverse_arrays = join_reverse_arrays,
    .overwrites = true,
    .tangent = join_tangent,
    .sample = concat_sample,
};

nb_var(nb_concat)(size_t n, const nb_var *x, int axis)
{
    join_state j = {.axis = axis};
    return nb_apply(&nbi_op_concat, n, x, &j, sizeof j);
}

/* ---- stack ----------------------------------------------------------------------------------- */

static nb_code stack_shape(const nb_call *c, nb_shape *out)
{
    join_state *j = c->state;
    const nb_array *x = &c->in[0];
    int rank = x->rank < 0 ? 1 : x->rank + 1;
    j->scalars = x->rank < 0;
    if (!nbi_axis(c, &j->axis, rank))
        return NB_ERR_AXIS;
    if (rank > NB_MAX_RANK)
        return nb_refuse(c, NB_ERR_SHAPE, "the result has too many dimensions", "%d are the most",
                         NB_MAX_RANK);
    for (size_t k = 1; k < c->n_in; k++) {
        if ((c->in[k].rank < 0) != j->scalars)
            return nb_refuse(c, NB_ERR_SHAPE, "scalars and tensors do not mix",
                             "operand 0 is a %s, operand %zu is not",
                             j->scalars ? "scalar" : "tensor", k);
        if (!nb_shape_equal(nbi_shape_in(x), nbi_shape_in(&c->in[k])))
            return nb_refuse(c, NB_ERR_SHAPE, "shapes differ", "operand %zu is not like operand 0",
                             k);
    }
    out->rank = rank;
    for (int i = 0; i < rank; i++)
        out->dims[i] = i == j->axis ? (int64_t)c->n_in : x->dims[i - (i > j->axis)];
    return NB_OK;
}

/* Operand k takes back place k of the new axis. */
static nb_code stack_reverse(const nb_rule *r)
{
    const join_state *j = r->state;
    for (size_t k = 0; k < r->n_in; k++) {
        int64_t at = (int64_t)k;
        if (!r->want[k])
            continue;
        if (j->scalars)
            r->d[k] = nb_at_index(r->g, 1, &at);
        else
            r->d[k] = nb_squeeze(nb_slice(r->g, j->axis, at, at + 1, 1), NB_AXES(j->axis));
    }
    return NB_OK;
}

static nb_var stack_sample(nb_sampler *s, int k)
{
    nb_var a = nb_sample_scalar(s, -2, 2), b = nb_sample_scalar(s, -2, 2);
    nb_var x = nb_sample(s, NB_SHAPE(2, 3), -2, 2), y = nb_sample(s, NB_SHAPE(2, 3), -2, 2);
    nb_var p = nb_sample(s, NB_POINT, -2, 2), q = nb_sample(s, NB_POINT, -2, 2);
    nb_var z = nb_sample(s, NB_SHAPE(0, 2), -2, 2);
    switch (k) {
    case 0: return nb_stack(3, (nb_var[]){a, b, a}, 0);
    case 1: return nb_stack(2, (nb_var[]){x, y}, 0);
    case 2: return nb_stack(3, (nb_var[]){x, y, x}, 1);
    case 3: return nb_stack(2, (nb_var[]){x, y}, -1);
    case 4: return nb_stack(2, (nb_var[]){p, q}, -1);
    case 5: return nb_stack(2, (nb_var[]){z, z}, 1);
    case 6: return nb_stack(1, (nb_var[]){a}, -1);
    default: return NB_NONE;
    }
}

const nb_op nbi_op_stack = {
    .name = "stack",
    .doc = "operands of one shape, or scalars, along a new axis",
    .shape = stack_shape,
    .forward = join_forward,
    .reverse = stack_reverse,
    .reverse_arrays = join_reverse_arrays,
    .overwrites = true,
    .tangent = join_tangent,
    .sample = stack_sample,
};

nb_var(nb_stack)(size_t n, const nb_var *x, int axis)
{
    join_state j = {.axis = axis};
    return nb_apply(&nbi_op_stack, n, x, &j, sizeof j);
}
