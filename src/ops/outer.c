/*
 * Products of two vectors: the dot product, a number, and the outer product, a matrix.
 *
 *     dot:     y = sum over i of a[i] b[i]            outer:   y[i, j] = a[i] b[j]
 *
 * Both are bilinear: linear in each operand while the other is held. So the tangent is the sum of
 * the same product with one operand's tangent in its place, and the reverse rule is again a
 * product, of the adjoint with the operand that was held:
 *
 *     dot:     da = g b          db = g a             g a number
 *     outer:   da = g b          db = g^T a           g a matrix [n m]
 *
 * The dot of floats is summed in double and kept so: its result is a scalar node.
 */
#include "ops/product.h"
#include "ops/records.h"
#include "tape/tape.h"
#include <nabla/ops.h>

static nb_code vectors(const nb_call *c)
{
    if (c->in[0].rank == 1 && c->in[1].rank == 1)
        return NB_OK;
    return nb_refuse(c, NB_ERR_SHAPE, "needs two vectors", NULL);
}

/* Shared by the tangents: f(ta, b) + f(a, tb), of what is there. */
static nb_code bilinear_tangent(const nb_rule *r, nb_var (*f)(nb_var, nb_var))
{
    if (r->want[0])
        r->d[0] = f(r->t[0], r->in[1]);
    if (r->want[1]) {
        nb_var second = f(r->in[0], r->t[1]);
        r->d[0] = r->want[0] ? nb_add(r->d[0], second) : second;
    }
    return NB_OK;
}

/* ---- dot ------------------------------------------------------------------------------------- */

static nb_code dot_shape(const nb_call *c, nb_shape *out)
{
    if (vectors(c))
        return NB_ERR_SHAPE;
    if (c->in[0].size != c->in[1].size)
        return nb_refuse(c, NB_ERR_SHAPE, "lengths differ", "a has %lld elements, b has %lld",
                         (long long)c->in[0].size, (long long)c->in[1].size);
    out->rank = -1;
    return NB_OK;
}

nb_code nbi_dot_forward(const nb_call *c)
{
    const nb_array *a = &c->in[0];
    *(double *)c->out->data = nbi_dot(a->dtype, a->size, a->data, c->in[1].data);
    return NB_OK;
}

/* da = g b, db = g a, through chain: where g is 0 nothing flows, even out of an infinite element.
 */
nb_code nbi_dot_reverse(const nb_rule *r)
{
    for (int k = 0; k < 2; k++)
        if (r->want[k])
            r->d[k] = nb_chain(r->g, r->in[1 - k]);
    return NB_OK;
}

nb_code nbi_dot_reverse_arrays(const nb_call *c, const nb_array *g, nb_array *const *gin,
                               const bool *add)
{
    double scale = g->dtype == NB_F64 ? *(const double *)g->data : (double)*(const float *)g->data;
    for (int k = 0; k < 2; k++)
        if (gin[k])
            nbi_scaled(gin[k]->dtype, gin[k]->size, scale, c->in[1 - k].data, gin[k]->data, add[k]);
    return NB_OK;
}

static nb_code dot_tangent(const nb_rule *r) { return bilinear_tangent(r, (nb_dot)); }

/* Example k of a product of vectors of lengths n and m. */
static nb_var sample_vectors(nb_sampler *s, int64_t n, int64_t m, nb_var (*f)(nb_var, nb_var))
{
    nb_var a = nb_sample(s, NB_SHAPE(n), -2, 2);
    nb_var b = nb_sample(s, NB_SHAPE(m), -2, 2);
    return f(a, b);
}

static nb_var dot_sample(nb_sampler *s, int k)
{
    static const int64_t length[] = {1, 5, 8, 19, 0};
    return k < 5 ? sample_vectors(s, length[k], length[k], (nb_dot)) : NB_NONE;
}

const nb_op nbi_op_dot = {
    .name = "dot",
    .doc = "the sum of the products of two vectors' elements",
    .shape = dot_shape,
    .forward = nbi_dot_forward,
    .reverse = nbi_dot_reverse,
    .reverse_arrays = nbi_dot_reverse_arrays,
    .overwrites = true,
    .tangent = dot_tangent,
    .sample = dot_sample,
};

nb_var(nb_dot)(nb_var a, nb_var b) { return nb_apply(&nbi_op_dot, 2, (nb_var[]){a, b}, NULL, 0); }

/* ---- outer ----------------------------------------------------------------------------------- */

static nb_code outer_shape(const nb_call *c, nb_shape *out)
{
    if (vectors(c))
        return NB_ERR_SHAPE;
    *out = NB_SHAPE(c->in[0].size, c->in[1].size);
    return NB_OK;
}

/* a as a column times b as a row: a matrix product with an inner dimension of 1. */
static nb_code outer_forward(const nb_call *c)
{
    int64_t n = c->in[0].size, m = c->in[1].size;
    nbi_matmul p = {.m = n, .n = m, .k = 1, .lda = 1, .ldb = m, .ldc = m};
    p.a = c->in[0].data, p.b = c->in[1].data, p.c = c->out->data;
    return nbi_tape_matmul(c->tape, c->out->dtype, &p) ? NB_OK : NB_ERR_MEMORY;
}

static nb_code outer_reverse(const nb_rule *r)
{
    if (r->want[0])
        r->d[0] = nb_matmul_t(r->g, false, r->in[1], false);
    if (r->want[1])
        r->d[1] = nb_matmul_t(r->g, true, r->in[0], false);
    return NB_OK;
}

static nb_code outer_reverse_arrays(const nb_call *c, const nb_array *g, nb_array *const *gin,
                                    const bool *add)
{
    int64_t n = c->in[0].size, m = c->in[1].size;
    for (int k = 0; k < 2; k++) {
        if (!gin[k])
            continue;
        nbi_matmul p = {.m = k ? m : n, .n = 1, .k = k ? n : m, .lda = m, .ldb = 1, .ldc = 1};
        p.a = g->data, p.b = c->in[1 - k].data, p.c = gin[k]->data;
        p.ta = k == 1, p.accumulate = add[k];
        if (!nbi_tape_matmul(c->tape, g->dtype, &p))
            return NB_ERR_MEMORY;
    }
    return NB_OK;
}

static nb_code outer_tangent(const nb_rule *r) { return bilinear_tangent(r, (nb_outer)); }

static nb_var outer_sample(nb_sampler *s, int k)
{
    static const int64_t length[][2] = {{1, 1}, {3, 4}, {7, 5}, {1, 6}, {0, 3}, {4, 0}};
    return k < 6 ? sample_vectors(s, length[k][0], length[k][1], (nb_outer)) : NB_NONE;
}

const nb_op nbi_op_outer = {
    .name = "outer",
    .doc = "the products of each element of a with each of b",
    .shape = outer_shape,
    .forward = outer_forward,
    .reverse = outer_reverse,
    .reverse_arrays = outer_reverse_arrays,
    .overwrites = true,
    .tangent = outer_tangent,
    .sample = outer_sample,
};

nb_var(nb_outer)(nb_var a, nb_var b)
{
    return nb_apply(&nbi_op_outer, 2, (nb_var[]){a, b}, NULL, 0);
}
