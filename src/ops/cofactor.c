/*
 * The matrix of cofactors, and its derivative.
 *
 * cof A is the gradient of det A: each element is, up to sign, the determinant of what is left
 * without its row and column. It is det A A^-T where A has an inverse, but a polynomial, and so
 * defined and smooth everywhere. It is multiplicative, cof(XY) = cof X cof Y, which is the way to
 * compute it where A is singular, or nearly so. With every pivot the greatest element left,
 *
 *     A = X D Y,    X = P^T L,  Y = W Q^T
 *
 * where L and W are unit triangular without an element above 1, far from singular, and D, a
 * diagonal, holds all that is small. Then det X and det Y are the signs of P and Q, and
 *
 *     cof A = X' cof D Y',    X' = cof X = det X  P^T L^-T,    Y' = cof Y = det Y  W^-T Q^T
 *     cof D = diagonal of c[i],  c[i] = product of all d[k], k not i
 *
 * without a division by anything small: for A of rank n-1 one c[i] is not 0, below that none is.
 *
 * Its derivative in a direction E is found in the same way. A + E = X (D + F) Y with
 * F = X^-1 E Y^-1, and at a diagonal matrix one sees it: with p[i][j] the product of all d[k], k
 * neither i nor j,
 *
 *     cof'(A) E = X' M Y',    M[i][i] = sum over j not i of p[i][j] F[j][j],
 *                             M[i][j] = -p[i][j] F[j][i]
 *
 * since only terms with one factor from F count: c[i] loses one d[j] for F[j][j], and the cofactor
 * (i, j) of D + F misses row i and column j, so that F[j][i] takes the place of both d[i] and d[j].
 * This is the operation cofactor_slope. As the second derivative of det it is symmetric,
 * <H, cof'(A) E> = <E, cof'(A) H>, so it is its own reverse rule: that of cofactor, and its own in
 * E.
 *
 * Its derivative by A is the third of det, and goes by the inverse: with B = A^-T, delta = det A,
 * cof'(A) E = delta (<B, E> B - B E^T B), and dB = -B dA^T B, d delta = delta <B, dA> give
 *
 *     delta ((<B,E> <B,H> - <H, EB>) B - <B,H> EB - <B,E> HB + EB H^T B + HB E^T B)
 *
 * as the adjoint of A, where EB = B E^T B and HB = B H^T B. So beyond its second derivative, det
 * wants a matrix that is not singular; up to order 2 it has no further ones.
 */
#include "kernels/reduce.h"
#include "ops/factored.h"
#include "ops/records.h"
#include "tape/tape.h"
#include <nabla/algebra.h>

#include <math.h>

/* ---- products with the exponent kept apart --------------------------------------------------- */

typedef struct scaled {
    double mantissa;
    int64_t exponent;
} scaled;

static const scaled one = {1, 0};

static scaled times(scaled x, double by)
{
    int e;
    scaled y = {.mantissa = frexp(x.mantissa * by, &e)};
    y.exponent = x.exponent + e;
    return y;
}

static double number(scaled x, scaled y, double by)
{
    y = times(y, by);
    return scalbln(x.mantissa * y.mantissa, (long)(x.exponent + y.exponent));
}

/* ---- work ------------------------------------------------------------------------------------ */

/* A factored, and beside it a matrix m that becomes the result. */
typedef struct parts {
    int64_t n;
    double *ldu, *m, *diagonal;
    scaled *after; /* after[i] = d[i] d[i+1] … */
    int64_t *rows, *columns;
    nbi_factor f;
} parts;

static bool open_parts(const nb_call *c, parts *p)
{
    nb_tape *t = c->tape;
    const int64_t n = p->n = nbi_order(&c->in[0]);
    p->ldu = nbi_scratch_doubles(c, n, n);
    p->m = nbi_scratch_doubles(c, n, n);
    p->diagonal = nbi_scratch_doubles(c, n, 1);
    p->after = nbi_scratch(t, (size_t)(n + 1) * sizeof *p->after);
    p->rows = nbi_scratch(t, (size_t)n * sizeof *p->rows);
    p->columns = nbi_scratch(t, (size_t)n * sizeof *p->columns);
    if (p->ldu && p->m && p->diagonal && p->after && p->rows && p->columns)
        return nbi_factor_work(c, n, n, &p->f);
    nbi_no_memory(t, c->op->name);
    return false;
}

static double pivot(const parts *p, int64_t i) { return p->ldu[i * (p->n + 1)]; }

/* Factors the matrix that begins at that element of operand 0. */
static void factor(const nb_call *c, int64_t at, parts *p)
{
    const int64_t n = p->n;
    nbi_get(c->in[0].dtype, c->in[0].data, at, n * n, p->ldu);
    nbi_ldu(n, p->ldu, n, p->rows, p->columns);
    p->after[n] = one;
    for (int64_t i = n - 1; i >= 0; i--)
        p->after[i] = times(p->after[i + 1], pivot(p, i));
}

/* E in m becomes F = L^-1 (P E Q) W^-1: columns as rows of the transpose. */
static void inward(parts *p)
{
    const int64_t n = p->n;
    nbi_triangle l = {p->ldu, n, n, .lower = true, .unit = true};
    nbi_triangle w = {p->ldu, n, n, .transposed = true, .unit = true};
    nbi_exchange(n, p->rows, false, n, p->m, n);
    nbi_triangle_solve(&p->f, &l, n, p->m, n);
    nbi_turn(n, p->m, n);
    nbi_exchange(n, p->columns, false, n, p->m, n);
    nbi_triangle_solve(&p->f, &w, n, p->m, n);
    nbi_turn(n, p->m, n);
}

/* M in m becomes X' M Y', and goes to the result. */
static void outward(const nb_call *c, int64_t at, parts *p)
{
    const int64_t n = p->n;
    nbi_triangle l = {p->ldu, n, n, .lower = true, .transposed = true, .unit = true};
    nbi_triangle w = {p->ldu, n, n, .unit = true};
    bool odd = false;
    for (int64_t i = 0; i < n; i++)
        odd ^= (p->rows[i] != i) != (p->columns[i] != i);
    nbi_triangle_solve(&p->f, &l, n, p->m, n);
    nbi_turn(n, p->m, n);
    nbi_triangle_solve(&p->f, &w, n, p->m, n);
    nbi_exchange(n, p->columns, true, n, p->m, n);
    nbi_turn(n, p->m, n);
    nbi_exchange(n, p->rows, true, n, p->m, n);
    for (int64_t i = 0; i < n * n && odd; i++)
        p->m[i] = -p->m[i];
    nbi_put(c->out->dtype, c->out->data, at, n * n, p->m);
}

static nb_code cofactor_shape(const nb_call *c, nb_shape *out)
{
    (void)out; /* that of a */
    return nbi_needs_square(c) ? NB_OK : NB_ERR_SHAPE;
}

/* ---- cofactor -------------------------------------------------------------------------------- */

static nb_var slope(nb_var a, nb_var e)
{
    return nb_apply(&nbi_op_cofactor_slope, 2, (nb_var[]){a, e}, NULL, 0);
}

static void diagonal_cofactors(parts *p)
{
    const int64_t n = p->n;
    scaled before = one;
    memset(p->m, 0, (size_t)(n * n) * sizeof *p->m);
    for (int64_t i = 0; i < n; i++) {
        p->m[i * (n + 1)] = number(before, p->after[i + 1], 1);
        before = times(before, pivot(p, i));
    }
}

static nb_code cofactor_forward(const nb_call *c)
{
    nbi_spot spot = c->tape->scratch.at;
    parts p;
    if (c->out->size == 0)
        return NB_OK;
    if (!open_parts(c, &p))
        return NB_ERR_MEMORY;
    for (int64_t at = 0; at < c->out->size; at += p.n * p.n) {
        factor(c, at, &p);
        diagonal_cofactors(&p);
        outward(c, at, &p);
    }
    nbi_give_back(&c->tape->scratch, spot);
    return NB_OK;
}

static nb_code cofactor_reverse(const nb_rule *r)
{
    r->d[0] = slope(r->in[0], r->g);
    return NB_OK;
}

static nb_code cofactor_tangent(const nb_rule *r)
{
    r->d[0] = slope(r->in[0], r->t[0]);
    return NB_OK;
}

static const nb_shape sampled[] = {
    {2, {3, 3}}, {2, {4, 4}},    {2, {1, 1}}, {3, {3, 2, 2}}, {8, {1, 2, 1, 1, 2, 1, 2, 2}},
    {2, {2, 2}}, {3, {1, 3, 3}}, {2, {0, 0}}, {3, {0, 2, 2}},
};
enum { SAMPLED = sizeof sampled / sizeof *sampled };

static nb_var cofactor_sample(nb_sampler *s, int k)
{
    return k < SAMPLED ? nb_cofactor(nb_sample(s, sampled[k], -2, 2)) : NB_NONE;
}

const nb_op nbi_op_cofactor = {
    .name = "cofactor",
    .doc = "the cofactors of a matrix: the gradient of its determinant",
    .shape = cofactor_shape,
    .forward = cofactor_forward,
    .reverse = cofactor_reverse,
    .tangent = cofactor_tangent,
    .sample = cofactor_sample,
};

nb_var(nb_cofactor)(nb_var a) { return nb_apply(&nbi_op_cofactor, 1, &a, NULL, 0); }

/* ---- cofactor_slope -------------------------------------------------------------------------- */

static nb_code slope_shape(const nb_call *c, nb_shape *out)
{
    const nb_array *a = &c->in[0], *e = &c->in[1];
    if (!nbi_needs_square(c))
        return NB_ERR_SHAPE;
    bool same = a->rank == e->rank;
    for (int i = 0; same && i < a->rank; i++)
        same = a->dims[i] == e->dims[i];
    if (!same)
        return nb_refuse(c, NB_ERR_SHAPE, "the operands differ in shape", NULL);
    return cofactor_shape(c, out);
}

/* F in m becomes M. Elements off the diagonal meet in pairs; those on it are summed aside. */
static void diagonal_slope(parts *p)
{
    const int64_t n = p->n;
    double *m = p->m, *sum = p->diagonal;
    scaled before = one;
    for (int64_t i = 0; i < n; i++)
        sum[i] = 0;
    for (int64_t i = 0; i < n; i++) {
        scaled between = before; /* all d[k], k < j but not i */
        for (int64_t j = i + 1; j < n; j++) {
            const scaled after = p->after[j + 1];
            const double upper = m[i * n + j];
            sum[i] += number(between, after, m[j * (n + 1)]);
            sum[j] += number(between, after, m[i * (n + 1)]);
            m[i * n + j] = -number(between, after, m[j * n + i]);
            m[j * n + i] = -number(between, after, upper);
            between = times(between, pivot(p, j));
        }
        before = times(before, pivot(p, i));
    }
    for (int64_t i = 0; i < n; i++)
        m[i * (n + 1)] = sum[i];
}

static nb_code slope_forward(const nb_call *c)
{
    const nb_array *e = &c->in[1];
    nbi_spot spot = c->tape->scratch.at;
    parts p;
    if (c->out->size == 0)
        return NB_OK;
    if (!open_parts(c, &p))
        return NB_ERR_MEMORY;
    for (int64_t at = 0; at < c->out->size; at += p.n * p.n) {
        factor(c, at, &p);
        nbi_get(e->dtype, e->data, at, p.n * p.n, p.m);
        inward(&p);
        diagonal_slope(&p);
        outward(c, at, &p);
    }
    nbi_give_back(&c->tape->scratch, spot);
    return NB_OK;
}

/* <x, y>, per matrix. */
static nb_var inner(nb_var x, nb_var y) { return nb_sum_over(nb_mul(x, y), NB_AXES(-2, -1), true); }

/* The adjoint of a: the third derivative of det(a), applied to e and h. */
static nb_var third(nb_var a, nb_var e, nb_var h)
{
    nb_var b = nb_transpose(nb_inverse(a)), delta = nbi_per_matrix(nb_det(a));
    nb_var eb = nb_matmul(nb_matmul_t(b, false, e, true), b); /* B E^T B */
    nb_var hb = nb_matmul(nb_matmul_t(b, false, h, true), b);
    nb_var be = inner(b, e), bh = inner(b, h);
    nb_var along = nb_mul(nb_sub(nb_mul(be, bh), inner(h, eb)), b);
    nb_var across = nb_add(nb_mul(bh, eb), nb_mul(be, hb));
    nb_var twice = nb_add(nb_matmul(nb_matmul_t(eb, false, h, true), b),
                          nb_matmul(nb_matmul_t(hb, false, e, true), b));
    return nb_mul(delta, nb_add(nb_sub(along, across), twice));
}

static nb_code slope_reverse(const nb_rule *r)
{
    if (r->want[0] && nb_dim(r->in[0], -1) > 2)
        r->d[0] = third(r->in[0], r->in[1], r->g);
    if (r->want[1])
        r->d[1] = slope(r->in[0], r->g);
    return NB_OK;
}

static nb_code slope_tangent(const nb_rule *r)
{
    const bool by_a = r->want[0] && nb_dim(r->in[0], -1) > 2;
    if (by_a)
        r->d[0] = third(r->in[0], r->in[1], r->t[0]);
    if (r->want[1]) {
        nb_var second = slope(r->in[0], r->t[1]);
        r->d[0] = by_a ? nb_add(r->d[0], second) : second;
    }
    return NB_OK;
}

static nb_var slope_sample(nb_sampler *s, int k)
{
    if (k >= SAMPLED)
        return NB_NONE;
    nb_var a = nbi_sample_regular(s, sampled[k]);
    return slope(a, nb_sample(s, sampled[k], -2, 2));
}

const nb_op nbi_op_cofactor_slope = {
    .name = "cofactor_slope",
    .doc = "the derivative of the cofactors of a matrix in a direction",
    .shape = slope_shape,
    .forward = slope_forward,
    .reverse = slope_reverse,
    .tangent = slope_tangent,
    .sample = slope_sample,
};
