/*
 * Linear systems: X in A X = B.
 *
 * Differentiate the equation, and solve for dX:
 *
 *     dA X + A dX = dB        so        dX = A^-1 (dB - dA X)
 *
 * which is the tangent rule. Against an adjoint G of X, with W = A^-T G,
 *
 *     <G, dX> = <W, dB> - <W, dA X> = <W, dB> - <W X^T, dA>
 *
 *     dB = W        dA = -W X^T
 *
 * So the reverse rule is one more solution, with the transpose, and a product; and as it is made of
 * the same two operations, so are all further derivatives. With A^T in the place of A the adjoint
 * of A itself is the transpose, dA = -X W^T.
 *
 * A = P^T L U is factored once. Solutions with A and with A^T both come from that factorisation,
 * which the node keeps and hands on to those that its rules record: a derivative of any order costs
 * triangular systems, O(n^2) per column, and no further factorisation.
 *
 * A vector b counts as one column, and that axis is not in the result. Batch axes broadcast: a
 * matrix that many right sides share is factored once.
 */
#include "ops/factored.h"
#include "ops/records.h"
#include "tape/tape.h"
#include <nabla/algebra.h>

typedef struct system {
    bool transposed;
    bool given; /* the factors are another node's */
    const nbi_factored *factors;
} system;

static nb_var solve(nb_var a, nb_var b, const system *s)
{
    return nb_apply(&nbi_op_solve, 2, (nb_var[]){a, b}, s, sizeof *s);
}

/* ---- values ---------------------------------------------------------------------------------- */

static nb_code solve_forward(const nb_call *c)
{
    system *s = c->state;
    nb_tape *t = c->tape;
    const nb_array *b = &c->in[1], *out = c->out;
    const int columns = b->rank > 1 ? 2 : 1;
    const int64_t n = nbi_order(&c->in[0]), m = b->rank > 1 ? nbi_order(b) : 1;
    nbi_spot spot = t->scratch.at;
    nbi_factor f;
    nbi_bench w;
    if (out->size == 0)
        return NB_OK;
    if (!nbi_factor_work(c, n, m, &f))
        return NB_ERR_MEMORY;
    if (!s->given && !(s->factors = nbi_factor_operand(c, &f, true)))
        return t->code;
    if (!nbi_bench_open(c, n, m, &w))
        return NB_ERR_MEMORY;
    nbi_pairs p = nbi_pairs_make(c, (int[]){2, columns}, out->rank - columns, out->dims);
    while (nbi_pairs_next(&p)) {
        double *x = nbi_bench_at(c, &w, p.entry * n * m);
        nbi_matrix_get(b, p.at[1] * n * m, n, m, x, w.ld);
        nbi_lu_solve(&f, n, m, nbi_factored_lu(s->factors, p.at[0]), s->factors->ld,
                     nbi_factored_exchange(s->factors, p.at[0]), s->transposed, x, w.ld);
        nbi_bench_done(c, &w, p.entry * n * m);
    }
    nbi_give_back(&t->scratch, spot);
    return NB_OK;
}

/* ---- derivatives ----------------------------------------------------------------------------- */

static nb_code solve_reverse(const nb_rule *r)
{
    const system *s = r->state;
    const bool vector = nb_rank(r->in[1]) == 1;
    nb_var x = nbi_as_column(r->out, vector);
    nb_var g = nbi_as_column(r->g, vector);
    nb_var w = nbi_solve_by(s->factors, r->in[0], g, !s->transposed);
    if (r->want[0])
        r->d[0] =
            nb_neg(s->transposed ? nb_matmul_t(x, false, w, true) : nb_matmul_t(w, false, x, true));
    if (r->want[1])
        r->d[1] = nbi_without_column(w, vector);
    return NB_OK;
}

static nb_code solve_tangent(const nb_rule *r)
{
    const system *s = r->state;
    const bool vector = nb_rank(r->in[1]) == 1;
    nb_var b = NB_NONE;
    if (r->want[1])
        b = nbi_as_column(r->t[1], vector);
    if (r->want[0]) {
        nb_var x = nbi_as_column(r->out, vector);
        nb_var moved = nb_matmul_t(r->t[0], s->transposed, x, false);
        b = r->want[1] ? nb_sub(b, moved) : nb_neg(moved);
    }
    r->d[0] = nbi_without_column(nbi_solve_by(s->factors, r->in[0], b, s->transposed), vector);
    return NB_OK;
}

static nb_var solve_sample(nb_sampler *s, int k)
{
    static const struct {
        nb_shape a, b;
        bool transposed;
    } sample[] = {
        {{2, {3, 3}}, {2, {3, 2}}, false},
        {{2, {4, 4}}, {1, {4}}, false},
        {{2, {3, 3}}, {2, {3, 5}}, true},
        {{2, {4, 4}}, {1, {4}}, true},
        {{2, {1, 1}}, {2, {1, 1}}, false},
        {{2, {1, 1}}, {1, {1}}, true},
        {{3, {2, 3, 3}}, {2, {3, 2}}, false},
        {{2, {3, 3}}, {3, {2, 3, 2}}, true},
        {{3, {2, 2, 2}}, {1, {2}}, false},
        {{4, {2, 1, 2, 2}}, {3, {3, 2, 1}}, false},
        {{8, {1, 2, 1, 1, 1, 1, 2, 2}}, {4, {2, 1, 2, 1}}, true},
        {{2, {3, 3}}, {2, {3, 3}}, false},
        {{2, {0, 0}}, {2, {0, 3}}, false},
        {{2, {2, 2}}, {2, {2, 0}}, false},
        {{3, {0, 2, 2}}, {2, {2, 3}}, false},
    };
    if (k >= (int)(sizeof sample / sizeof *sample))
        return NB_NONE;
    nb_var a = nbi_sample_regular(s, sample[k].a);
    nb_var b = nb_sample(s, sample[k].b, -2, 2);
    return solve(a, b, &(system){.transposed = sample[k].transposed});
}

const nb_op nbi_op_solve = {
    .name = "solve",
    .doc = "the solution of a system of linear equations",
    .shape = nbi_system_shape,
    .forward = solve_forward,
    .reverse = solve_reverse,
    .tangent = solve_tangent,
    .sample = solve_sample,
};

nb_var(nb_solve)(nb_var a, nb_var b) { return solve(a, b, &(system){0}); }

nb_var nbi_solve_by(const nbi_factored *factors, nb_var a, nb_var b, bool transposed)
{
    return solve(a, b, &(system){transposed, true, factors});
}
