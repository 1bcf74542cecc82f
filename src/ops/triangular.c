/*
 * Triangular systems: X in T X = B, where T is one triangle of a square matrix a.
 *
 * The equation is that of solve.c, and so are its derivatives,
 *
 *     dX = T^-1 (dB - dT X)        dB = W,  dT = -W X^T        W = T^-T G, G the adjoint of X
 *
 * but T is only part of a: what lies outside the triangle is not read, so nothing depends on it and
 * no adjoint arrives there. Cutting is a linear map and its own transpose, so it stands in both
 * rules: dT is the triangle cut from da, and the adjoint of a is the same triangle cut from that of
 * T. With a unit diagonal, which is not read either, the cut is made one diagonal further out.
 *
 * T is its own factorisation: no work precedes the solution, whose rule is one more system, with
 * the transpose. A zero on the diagonal is refused.
 */
#include "kernels/reduce.h"
#include "ops/factored.h"
#include "ops/records.h"
#include "tape/tape.h"
#include <nabla/algebra.h>

typedef struct system {
    unsigned flags;
} system;

static nb_code triangular_shape(const nb_call *c, nb_shape *out)
{
    const system *s = c->state;
    if (s->flags > (NB_LOWER | NB_TRANSPOSED | NB_UNIT))
        return nb_refuse(c, NB_ERR_ARGUMENT, "there is no such flag", "flags are %u", s->flags);
    return nbi_system_shape(c, out);
}

/* All matrices of operand 0 as doubles; NULL if there is no memory. */
static const double *widened(const nb_call *c)
{
    const nb_array *a = &c->in[0];
    if (a->dtype == NB_F64)
        return a->data;
    double *wide = nbi_scratch_doubles(c, a->size, 1);
    if (wide)
        nbi_get(a->dtype, a->data, 0, a->size, wide);
    return wide;
}

static nb_code refuse_zeros(const nb_call *c, const double *a, int64_t n)
{
    const int64_t entries = nbi_entries(&c->in[0], 2);
    for (int64_t e = 0; e < entries; e++)
        for (int64_t i = 0; i < n; i++)
            if (a[e * n * n + i * (n + 1)] == 0)
                return nbi_singular(c, "the matrix is singular", e, i, 0);
    return NB_OK;
}

/* With the scratch as it is; the caller gives it back. */
static nb_code solve_all(const nb_call *c, const double *a, int64_t n, int64_t m, int columns)
{
    const system *s = c->state;
    const nb_array *b = &c->in[1], *out = c->out;
    const bool wide = out->dtype == NB_F64;
    nbi_triangle t = {.n = n,
                      .ld = n,
                      .lower = s->flags & NB_LOWER,
                      .transposed = s->flags & NB_TRANSPOSED,
                      .unit = s->flags & NB_UNIT};
    nbi_factor f;
    double *own = wide ? NULL : nbi_scratch_doubles(c, n, m);
    if (!nbi_factor_work(c, n, m, &f) || (!wide && !own))
        return NB_ERR_MEMORY;
    nbi_pairs p = nbi_pairs_make(c, (int[]){2, columns}, out->rank - columns, out->dims);
    while (nbi_pairs_next(&p)) {
        double *x = wide ? (double *)out->data + p.entry * n * m : own;
        nbi_get(b->dtype, b->data, p.at[1] * n * m, n * m, x);
        t.data = a + p.at[0] * n * n;
        nbi_triangle_solve(&f, &t, m, x, m);
        if (!wide)
            nbi_put(out->dtype, out->data, p.entry * n * m, n * m, own);
    }
    return NB_OK;
}

static nb_code triangular_forward(const nb_call *c)
{
    const system *s = c->state;
    const nb_array *b = &c->in[1];
    const int columns = b->rank > 1 ? 2 : 1;
    const int64_t n = nbi_order(&c->in[0]), m = b->rank > 1 ? nbi_order(b) : 1;
    if (c->out->size == 0)
        return NB_OK;
    nbi_spot spot = c->tape->scratch.at;
    const double *a = widened(c);
    nb_code code = a ? NB_OK : NB_ERR_MEMORY;
    if (code == NB_OK && !(s->flags & NB_UNIT))
        code = refuse_zeros(c, a, n);
    if (code == NB_OK)
        code = solve_all(c, a, n, m, columns);
    nbi_give_back(&c->tape->scratch, spot);
    return code;
}

/* The triangle of x that is read. */
static nb_var cut(nb_var x, unsigned flags)
{
    const bool unit = flags & NB_UNIT;
    return flags & NB_LOWER ? nb_lower(x, unit ? -1 : 0) : nb_upper(x, unit ? 1 : 0);
}

static nb_code triangular_reverse(const nb_rule *r)
{
    const unsigned flags = ((const system *)r->state)->flags;
    const bool vector = nb_rank(r->in[1]) == 1;
    nb_var x = nbi_as_column(r->out, vector), g = nbi_as_column(r->g, vector);
    nb_var w = nb_solve_triangular(r->in[0], g, flags ^ NB_TRANSPOSED);
    if (r->want[0]) {
        const bool turned = flags & NB_TRANSPOSED;
        nb_var d = turned ? nb_matmul_t(x, false, w, true) : nb_matmul_t(w, false, x, true);
        r->d[0] = nb_neg(cut(d, flags));
    }
    if (r->want[1])
        r->d[1] = nbi_without_column(w, vector);
    return NB_OK;
}

static nb_code triangular_tangent(const nb_rule *r)
{
    const unsigned flags = ((const system *)r->state)->flags;
    const bool vector = nb_rank(r->in[1]) == 1;
    nb_var b = NB_NONE;
    if (r->want[1])
        b = nbi_as_column(r->t[1], vector);
    if (r->want[0]) {
        nb_var x = nbi_as_column(r->out, vector);
        nb_var moved = nb_matmul_t(cut(r->t[0], flags), flags & NB_TRANSPOSED, x, false);
        b = r->want[1] ? nb_sub(b, moved) : nb_neg(moved);
    }
    r->d[0] = nbi_without_column(nb_solve_triangular(r->in[0], b, flags), vector);
    return NB_OK;
}

static nb_var triangular_sample(nb_sampler *s, int k)
{
    static const struct {
        nb_shape a, b;
        unsigned flags;
    } sample[] = {
        {{2, {3, 3}}, {2, {3, 2}}, NB_LOWER},
        {{2, {4, 4}}, {1, {4}}, NB_UPPER},
        {{2, {3, 3}}, {2, {3, 4}}, NB_LOWER | NB_TRANSPOSED},
        {{2, {3, 3}}, {1, {3}}, NB_UPPER | NB_TRANSPOSED},
        {{2, {3, 3}}, {2, {3, 2}}, NB_LOWER | NB_UNIT},
        {{2, {3, 3}}, {2, {3, 5}}, NB_UPPER | NB_UNIT},
        {{2, {4, 4}}, {1, {4}}, NB_LOWER | NB_TRANSPOSED | NB_UNIT},
        {{2, {3, 3}}, {2, {3, 4}}, NB_UPPER | NB_TRANSPOSED | NB_UNIT},
        {{2, {1, 1}}, {2, {1, 1}}, NB_LOWER},
        {{3, {2, 3, 3}}, {2, {3, 2}}, NB_LOWER},
        {{2, {2, 2}}, {3, {2, 2, 2}}, NB_UPPER},
        {{3, {2, 2, 2}}, {1, {2}}, NB_LOWER},
        {{8, {1, 2, 1, 1, 1, 1, 2, 2}}, {4, {2, 1, 2, 1}}, NB_LOWER | NB_TRANSPOSED},
        {{2, {0, 0}}, {1, {0}}, NB_LOWER},
        {{2, {2, 2}}, {2, {2, 0}}, NB_UPPER},
        {{3, {0, 2, 2}}, {2, {2, 3}}, NB_LOWER},
    };
    if (k >= (int)(sizeof sample / sizeof *sample))
        return NB_NONE;
    nb_var a = nbi_sample_regular(s, sample[k].a);
    nb_var b = nb_sample(s, sample[k].b, -2, 2);
    return nb_solve_triangular(a, b, sample[k].flags);
}

const nb_op nbi_op_solve_triangular = {
    .name = "solve_triangular",
    .doc = "the solution of a triangular system of linear equations",
    .shape = triangular_shape,
    .forward = triangular_forward,
    .reverse = triangular_reverse,
    .tangent = triangular_tangent,
    .sample = triangular_sample,
};

nb_var(nb_solve_triangular)(nb_var a, nb_var b, unsigned flags)
{
    const system s = {flags};
    return nb_apply(&nbi_op_solve_triangular, 2, (nb_var[]){a, b}, &s, sizeof s);
}
