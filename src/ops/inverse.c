/*
 * The inverse: Y in A Y = I.
 *
 * From dA Y + A dY = 0,
 *
 *     dY = -Y dA Y        and against an adjoint G,        dA = -Y^T G Y^T
 *
 * so that the result itself is all that its derivatives need. Y is the solution of n systems by one
 * LU factorisation; where another node has one of the same matrix (logdet, whose gradient is the
 * inverse), that is used.
 */
#include "ops/factored.h"
#include "ops/records.h"
#include "tape/tape.h"
#include <nabla/algebra.h>

typedef struct source {
    const nbi_factored *given; /* the factors, of another node; or NULL */
} source;

static nb_code inverse_shape(const nb_call *c, nb_shape *out)
{
    (void)out; /* that of a */
    return nbi_needs_square(c) ? NB_OK : NB_ERR_SHAPE;
}

static void identity(int64_t n, double *x, int64_t ld)
{
    for (int64_t i = 0; i < n; i++) {
        memset(x + i * ld, 0, (size_t)n * sizeof *x);
        x[i * (ld + 1)] = 1;
    }
}

static nb_code inverse_forward(const nb_call *c)
{
    const nbi_factored *factors = ((const source *)c->state)->given;
    const nb_array *out = c->out;
    const int64_t n = nbi_order(out);
    nbi_spot spot = c->tape->scratch.at;
    nbi_factor f;
    nbi_bench w;
    if (out->size == 0)
        return NB_OK;
    if (!nbi_factor_work(c, n, n, &f))
        return NB_ERR_MEMORY;
    if (!factors && !(factors = nbi_factor_operand(c, &f, false)))
        return c->tape->code;
    if (!nbi_bench_open(c, n, n, &w))
        return NB_ERR_MEMORY;
    for (int64_t e = 0; e < factors->entries; e++) {
        double *x = nbi_bench_at(c, &w, e * n * n);
        identity(n, x, w.ld);
        nbi_lu_solve(&f, n, n, nbi_factored_lu(factors, e), factors->ld,
                     nbi_factored_exchange(factors, e), false, x, w.ld);
        nbi_bench_done(c, &w, e * n * n);
    }
    nbi_give_back(&c->tape->scratch, spot);
    return NB_OK;
}

static nb_code inverse_reverse(const nb_rule *r)
{
    nb_var left = nb_matmul_t(r->out, true, r->g, false);
    r->d[0] = nb_neg(nb_matmul_t(left, false, r->out, true));
    return NB_OK;
}

static nb_code inverse_tangent(const nb_rule *r)
{
    r->d[0] = nb_neg(nb_matmul(nb_matmul(r->out, r->t[0]), r->out));
    return NB_OK;
}

static nb_var inverse_sample(nb_sampler *s, int k)
{
    static const nb_shape shape[] = {
        {2, {3, 3}},    {2, {5, 5}}, {2, {1, 1}},    {3, {3, 2, 2}}, {8, {1, 2, 1, 1, 2, 1, 2, 2}},
        {3, {1, 3, 3}}, {2, {0, 0}}, {3, {0, 2, 2}},
    };
    if (k >= (int)(sizeof shape / sizeof *shape))
        return NB_NONE;
    return nb_inverse(nbi_sample_regular(s, shape[k]));
}

const nb_op nbi_op_inverse = {
    .name = "inverse",
    .doc = "the inverse of a matrix",
    .shape = inverse_shape,
    .forward = inverse_forward,
    .reverse = inverse_reverse,
    .tangent = inverse_tangent,
    .sample = inverse_sample,
};

nb_var nbi_inverse_by(const nbi_factored *factors, nb_var a)
{
    const source s = {factors};
    return nb_apply(&nbi_op_inverse, 1, &a, &s, sizeof s);
}

nb_var(nb_inverse)(nb_var a) { return nbi_inverse_by(NULL, a); }
