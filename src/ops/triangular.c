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

static nb_code refuse_zeros(const nb_call *c, int64_t entry, const nbi_triangle *t)
{
    for (int64_t i = 0; i < t->n && !t->unit; i++)
        if (t->data[i * (t->ld + 1)] == 0)
            return nbi_singular(c, "the matrix is singular", entry, i, 0);
    return NB_OK;
}

/* The matrices of operand 0 as the kernels like them: in place if they are of doubles and well
 * spaced, or used for so little that it does not matter; else copied. False if there is no memory.
 */
static bool open_triangle(const nb_call *c, int64_t m, nbi_triangle *t)
{
    const nb_array *a = &c->in[0];
    const unsigned flags = ((const system *)c->state)->flags;
    const int64_t n = nbi_order(a), entries = nbi_entries(a, 2), ld = nbi_factor_stride(n);
    *t = (nbi_triangle){.data = a->data, .n = n, .ld = n};
    t->lower = flags & NB_LOWER;
    t->transposed = flags & NB_TRANSPOSED;
    t->unit = flags & NB_UNIT;
    if (a->dtype == NB_F64 && (ld == n || m < NBI_FACTOR_THIN))
        return true;
    double *wide = nbi_scratch_doubles(c, entries * n, ld);
    for (int64_t e = 0; wide && e < entries; e++)
        nbi_matrix_get(a, e * n * n, n, n, wide + e * n * ld, ld);
    t->data = wide;
    t->ld = ld;
    return wide != NULL;
}

static nb_code triangular_forward(const nb_call *c)
{
    const nb_array *b = &c->in[1], *out = c->out;
    const int columns = b->rank > 1 ? 2 : 1;
    const int64_t n = nbi_order(&c->in[0]), m = b->rank > 1 ? nbi_order(b) : 1;
    nbi_spot spot = c->tape->scratch.at;
    nbi_factor f;
    nbi_bench w;
    nbi_triangle t;
    if (out->size == 0)
        return NB_OK;
    if (!nbi_factor_work(c, n, m, &f) || !open_triangle(c, m, &t) || !nbi_bench_open(c, n, m, &w))
        return NB_ERR_MEMORY;
    const double *all = t.data;
    nbi_pairs p = nbi_pairs_make(c, (int[]){2, columns}, out->rank - columns, out->dims);
    while (nbi_pairs_next(&p)) {
        double *x = nbi_bench_at(c, &w, p.entry * n * m);
        nbi_matrix_get(b, p.at[1] * n * m, n, m, x, w.ld);
        t.data = all + p.at[0] * n * t.ld;
        if (refuse_zeros(c, p.at[0], &t))
            return NB_ERR_SINGULAR;
        nbi_triangle_solve(&f, &t, m, x, w.ld);
        nbi_bench_done(c, &w, p.entry * n * m);
    }
    nbi_give_back(&c->tape->scratch, spot);
    return NB_OK;
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
