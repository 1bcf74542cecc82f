/*
 * The determinant, and the logarithm of its size.
 *
 * P A = L U, so det A is the product of the diagonal of U, with the sign of P: -1 for each exchange
 * of two rows. The product is taken with its exponent kept apart, so that nothing on the way
 * overflows or underflows unless the result does; its logarithm is the sum of logarithms.
 *
 *     d det A     = <C, dA>          C the cofactors, which cofactor.c derives
 *     d log|det A| = <A^-T, dA>      since C = det A A^-T
 *
 * det is a polynomial in the elements, defined and smooth everywhere: a missing pivot makes it 0,
 * and the cofactors go on to be right there. The logarithm has no value at a singular matrix, which
 * is refused; elsewhere its node keeps the factorisation, from which the gradient's inverse comes.
 */
#include "kernels/reduce.h"
#include "ops/factored.h"
#include "ops/records.h"
#include "tape/tape.h"
#include <nabla/algebra.h>

#include <math.h>

/* One number per matrix of a. */
static nb_code number_shape(const nb_call *c, nb_shape *out)
{
    const nb_array *a = &c->in[0];
    if (!nbi_needs_square(c))
        return NB_ERR_SHAPE;
    out->rank = a->rank == 2 ? -1 : a->rank - 2;
    for (int i = 0; i < out->rank; i++)
        out->dims[i] = a->dims[i];
    return NB_OK;
}

static nb_var matrix_sample(nb_sampler *s, int k, nb_var (*f)(nb_var))
{
    static const nb_shape shape[] = {
        {2, {3, 3}}, {2, {4, 4}},    {2, {1, 1}},    {3, {3, 2, 2}}, {8, {1, 2, 1, 1, 2, 1, 2, 2}},
        {2, {2, 2}}, {3, {1, 3, 3}}, {3, {0, 2, 2}},
    };
    if (k >= (int)(sizeof shape / sizeof *shape))
        return NB_NONE;
    return f(nbi_sample_regular(s, shape[k]));
}

static bool exchanged_oddly(int64_t n, const int64_t *exchange)
{
    bool odd = false;
    for (int64_t i = 0; i < n; i++)
        odd ^= exchange[i] != i;
    return odd;
}

/* ---- det ------------------------------------------------------------------------------------- */

/* The product of the diagonal, and of the sign. */
static double diagonal_product(int64_t n, const double *lu, int64_t ld, bool negative)
{
    double mantissa = negative ? -1 : 1;
    int64_t exponent = 0;
    for (int64_t i = 0; i < n; i++) {
        int e;
        mantissa = frexp(mantissa * lu[i * (ld + 1)], &e);
        exponent += e;
    }
    return scalbln(mantissa, (long)exponent);
}

/* Of a matrix that lacks a pivot: 0, but NaN if an element is not finite. */
static double without_pivot(const nb_array *a, int64_t at, int64_t size)
{
    double v = 0;
    for (int64_t i = 0; i < size && isfinite(v); i++)
        nbi_get(a->dtype, a->data, at + i, 1, &v);
    return isfinite(v) ? 0 : (double)NAN;
}

static nb_code det_forward(const nb_call *c)
{
    const nb_array *a = &c->in[0];
    const int64_t n = nbi_order(a), ld = nbi_factor_stride(n);
    nbi_spot spot = c->tape->scratch.at;
    nbi_factor f;
    double *lu = nbi_scratch_doubles(c, n, ld);
    int64_t *exchange = nbi_scratch(c->tape, (size_t)n * sizeof *exchange);
    if (!lu || !exchange || !nbi_factor_work(c, n, 1, &f))
        return nbi_no_memory(c->tape, c->op->name);
    for (int64_t e = 0; e < c->out->size; e++) {
        nbi_matrix_get(a, e * n * n, n, n, lu, ld);
        int64_t done = nbi_lu(&f, n, lu, ld, exchange);
        double det = done < n ? without_pivot(a, e * n * n, n * n)
                              : diagonal_product(n, lu, ld, exchanged_oddly(n, exchange));
        nbi_put(c->out->dtype, c->out->data, e, 1, &det);
    }
    nbi_give_back(&c->tape->scratch, spot);
    return NB_OK;
}

static nb_code det_reverse(const nb_rule *r)
{
    r->d[0] = nb_chain(nbi_per_matrix(r->g), nb_cofactor(r->in[0]));
    return NB_OK;
}

static nb_code det_tangent(const nb_rule *r)
{
    nb_var products = nb_mul(nb_cofactor(r->in[0]), r->t[0]);
    r->d[0] = nb_sum_over(products, NB_AXES(-2, -1), false);
    return NB_OK;
}

static nb_var det_sample(nb_sampler *s, int k) { return matrix_sample(s, k, (nb_det)); }

const nb_op nbi_op_det = {
    .name = "det",
    .doc = "the determinant of a matrix",
    .shape = number_shape,
    .forward = det_forward,
    .reverse = det_reverse,
    .tangent = det_tangent,
    .sample = det_sample,
};

nb_var(nb_det)(nb_var a) { return nb_apply(&nbi_op_det, 1, &a, NULL, 0); }

/* ---- logdet ---------------------------------------------------------------------------------- */

typedef struct logdet {
    double *sign; /* the caller's, one per matrix, or NULL */
    const nbi_factored *factors;
} logdet;

/* The sum of the pivots' logarithms; *sign is that of the determinant. */
static double log_diagonal(const nbi_factored *x, int64_t entry, double *sign)
{
    const double *lu = nbi_factored_lu(x, entry);
    double sum = 0;
    *sign = exchanged_oddly(x->n, nbi_factored_exchange(x, entry)) ? -1 : 1;
    for (int64_t i = 0; i < x->n; i++) {
        double u = lu[i * (x->ld + 1)];
        sum += log(fabs(u));
        *sign *= u > 0 ? 1 : u < 0 ? -1 : (double)NAN;
    }
    return sum;
}

static nb_code logdet_forward(const nb_call *c)
{
    logdet *s = c->state;
    const int64_t n = nbi_order(&c->in[0]);
    nbi_spot spot = c->tape->scratch.at;
    nbi_factor f;
    if (!nbi_factor_work(c, n, 1, &f))
        return NB_ERR_MEMORY;
    if (c->in[0].size && !(s->factors = nbi_factor_operand(c, &f, true)))
        return c->tape->code;
    nbi_give_back(&c->tape->scratch, spot);
    for (int64_t e = 0; e < c->out->size; e++) {
        double sum = 0, sign = 1;
        if (n > 0)
            sum = log_diagonal(s->factors, e, &sign);
        nbi_put(c->out->dtype, c->out->data, e, 1, &sum);
        if (s->sign)
            s->sign[e] = sign;
    }
    s->sign = NULL;
    return NB_OK;
}

static nb_code logdet_reverse(const nb_rule *r)
{
    const logdet *s = r->state;
    nb_var inverse = nbi_inverse_by(s->factors, r->in[0]);
    r->d[0] = nb_chain(nbi_per_matrix(r->g), nb_transpose(inverse));
    return NB_OK;
}

static nb_code logdet_tangent(const nb_rule *r)
{
    const logdet *s = r->state;
    r->d[0] = nb_trace(nbi_solve_by(s->factors, r->in[0], r->t[0], false));
    return NB_OK;
}

static nb_var logdet_sample(nb_sampler *s, int k) { return matrix_sample(s, k, (nb_logdet)); }

const nb_op nbi_op_logdet = {
    .name = "logdet",
    .doc = "the logarithm of the size of the determinant of a matrix",
    .shape = number_shape,
    .forward = logdet_forward,
    .reverse = logdet_reverse,
    .tangent = logdet_tangent,
    .sample = logdet_sample,
};

nb_var(nb_slogdet)(nb_var a, double *sign)
{
    const logdet s = {.sign = sign};
    return nb_apply(&nbi_op_logdet, 1, &a, &s, sizeof s);
}

nb_var(nb_logdet)(nb_var a) { return nb_slogdet(a, NULL); }
