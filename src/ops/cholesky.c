/*
 * The Cholesky factor: the lower triangular L with positive diagonal and
 *
 *     L L^T = S,        S = (A + A^T)/2
 *
 * Only symmetric matrices have one, and a function of a symmetric matrix has no gradient by single
 * elements: a[i][j] does not move alone. So the function is defined for every square A through its
 * symmetric part, which leaves symmetric matrices as they are and makes each element count half of
 * what its pair does. Its gradient is symmetric.
 *
 * Differentiate, and multiply by L^-1 from the left and by L^-T from the right:
 *
 *     dL L^T + L dL^T = dS
 *     L^-1 dL + (L^-1 dL)^T = L^-1 dS L^-T =: M
 *
 * M is symmetric, and L^-1 dL lower triangular: it is half of M. Let F keep the triangle below the
 * diagonal, and half of the diagonal. Then
 *
 *     dL = L F(M)
 *
 * Against an adjoint G of L, as F is its own transpose,
 *
 *     <G, L F(M)> = <F(L^T G), L^-1 dS L^-T> = <L^-T F(L^T G) L^-1, dS>
 *
 * whose symmetric part is the adjoint of A. (Above its diagonal L is 0 and stays so; what G holds
 * there drops out in F.) Both rules are products and triangular systems, which differentiate again.
 *
 * The solution of L L^T X = B and the logarithm of det L L^T, twice the sum of those of L's
 * diagonal, need no rules of their own: they are made of operations that have them.
 */
#include "ops/factored.h"
#include "ops/records.h"
#include "tape/tape.h"
#include <nabla/algebra.h>

static nb_code cholesky_shape(const nb_call *c, nb_shape *out)
{
    (void)out; /* that of a */
    return nbi_needs_square(c) ? NB_OK : NB_ERR_SHAPE;
}

/* x = U becomes L = U^T. */
static void turn_factor(int64_t n, double *x, int64_t ld)
{
    for (int64_t i = 0; i < n; i++)
        memset(x + i * ld, 0, (size_t)i * sizeof *x);
    nbi_turn(n, x, ld);
}

static nb_code cholesky_forward(const nb_call *c)
{
    const nb_array *a = &c->in[0], *out = c->out;
    const int64_t n = nbi_order(out);
    nbi_spot spot = c->tape->scratch.at;
    nbi_factor f;
    nbi_bench w;
    if (out->size == 0)
        return NB_OK;
    if (!nbi_factor_work(c, n, n, &f) || !nbi_bench_open(c, n, n, &w))
        return NB_ERR_MEMORY;
    for (int64_t at = 0; at < out->size; at += n * n) {
        double *x = nbi_bench_at(c, &w, at);
        nbi_matrix_get(a, at, n, n, x, w.ld);
        nbi_half_sum(n, x, w.ld);
        int64_t done = nbi_cholesky(&f, n, x, w.ld);
        if (done < n)
            return nbi_singular(c, "the matrix is not positive definite", at / (n * n), done,
                                x[done * (w.ld + 1)]);
        turn_factor(n, x, w.ld);
        nbi_bench_done(c, &w, at);
    }
    nbi_give_back(&c->tape->scratch, spot);
    return NB_OK;
}

static nb_var half_below(nb_var x) { return nb_mul(0.5, nb_add(nb_lower(x, 0), nb_lower(x, -1))); }

static nb_code cholesky_reverse(const nb_rule *r)
{
    const unsigned back = NB_LOWER | NB_TRANSPOSED;
    nb_var f = half_below(nb_matmul_t(r->out, true, r->g, false));
    nb_var left = nb_solve_triangular(r->out, f, back);                  /* L^-T F */
    nb_var both = nb_solve_triangular(r->out, nb_transpose(left), back); /* (L^-T F L^-1)^T */
    r->d[0] = nb_mul(0.5, nb_add(both, nb_transpose(both)));
    return NB_OK;
}

static nb_code cholesky_tangent(const nb_rule *r)
{
    nb_var ds = nb_mul(0.5, nb_add(r->t[0], nb_transpose(r->t[0])));
    nb_var left = nb_solve_triangular(r->out, ds, NB_LOWER);
    nb_var m = nb_solve_triangular(r->out, nb_transpose(left), NB_LOWER);
    r->d[0] = nb_matmul(r->out, half_below(m));
    return NB_OK;
}

/* The symmetric part is positive definite: n on the diagonal outweighs the rest of a row. */
static nb_var cholesky_sample(nb_sampler *s, int k)
{
    static const nb_shape shape[] = {
        {2, {3, 3}}, {2, {4, 4}},    {2, {1, 1}}, {3, {3, 2, 2}}, {8, {1, 2, 1, 1, 2, 1, 2, 2}},
        {2, {5, 5}}, {3, {1, 3, 3}}, {2, {0, 0}}, {3, {0, 2, 2}},
    };
    if (k >= (int)(sizeof shape / sizeof *shape))
        return NB_NONE;
    return nb_cholesky(nbi_sample_regular(s, shape[k]));
}

const nb_op nbi_op_cholesky = {
    .name = "cholesky",
    .doc = "the lower triangular factor L of a positive definite matrix L L'",
    .shape = cholesky_shape,
    .forward = cholesky_forward,
    .reverse = cholesky_reverse,
    .tangent = cholesky_tangent,
    .sample = cholesky_sample,
};

nb_var(nb_cholesky)(nb_var a) { return nb_apply(&nbi_op_cholesky, 1, &a, NULL, 0); }

/* ---- with the factor in hand ----------------------------------------------------------------- */

nb_var(nb_cholesky_solve)(nb_var l, nb_var b)
{
    nb_var y = nb_solve_triangular(l, b, NB_LOWER);
    return nb_solve_triangular(l, y, NB_LOWER | NB_TRANSPOSED);
}

nb_var(nb_cholesky_logdet)(nb_var l)
{
    const int rank = nb_rank(l);
    if (nb_ok(l) && l.tape && (rank < 2 || nb_dim(l, -2) != nb_dim(l, -1))) {
        nbi_fail(l.tape, NB_ERR_SHAPE, "cholesky_logdet: the matrix is not square");
        return nbi_inert(l.tape);
    }
    return nb_mul(2, nb_sum_over(nb_log(nb_diagonal(l, 0)), NB_AXES(-1), false));
}
