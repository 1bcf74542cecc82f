/*
 * What tests of decompositions ask: whether factors multiply to the matrix, and how far columns are
 * from orthonormal, and whether they keep the sign convention. Plain loops over row-major arrays.
 */
#ifndef NABLA_TESTS_DECOMPOSED_H
#define NABLA_TESTS_DECOMPOSED_H

#include "run.h"

#include <float.h>
#include <math.h>
#include <nabla.h>
#include <stdlib.h>
#include <string.h>

enum { ROOM = 128 * 128 };

static inline nb_tape *tape_of(nb_dtype d)
{
    nb_tape *t = nb_tape_new(&(nb_options){.dtype = d});
    ck_assert_ptr_nonnull(t);
    return t;
}

static inline double unit_of(nb_dtype d) { return d == NB_F64 ? DBL_EPSILON : (double)FLT_EPSILON; }

static inline double *doubles(int64_t n)
{
    double *p = calloc((size_t)n + 1, sizeof *p);
    ck_assert_ptr_nonnull(p);
    return p;
}

static inline void fill(double *x, int64_t n, nb_rng *r)
{
    for (int64_t i = 0; i < n; i++)
        x[i] = (double)(float)(2 * nb_rng_uniform(r) - 1);
}

static inline void read_all(nb_var x, double *out)
{
    ck_assert_msg(nb_ok(x), "%s", nb_message(x.tape));
    ck_assert_int_eq(nb_read(x, out, nb_size(x)), NB_OK);
}

static inline double most(int64_t n, const double *x)
{
    double top = 0;
    for (int64_t i = 0; i < n; i++)
        top = fmax(top, isnan(x[i]) ? (double)INFINITY : fabs(x[i]));
    return top;
}

/* The greatest |a - x diag(s) y'|, a [m n], x [m k], y [n k], and s NULL for ones. */
static inline double residual(int64_t m, int64_t n, int64_t k, const double *a, const double *x,
                              const double *s, const double *y)
{
    double worst = 0;
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
            double sum = 0;
            for (int64_t l = 0; l < k; l++)
                sum += x[i * k + l] * (s ? s[l] : 1) * y[j * k + l];
            worst = fmax(worst, fabs(sum - a[i * n + j]));
        }
    return worst;
}

/* How far the columns of x [m k] are from orthonormal. */
static inline double skewness(int64_t m, int64_t k, const double *x)
{
    double worst = 0;
    for (int64_t i = 0; i < k; i++)
        for (int64_t j = 0; j <= i; j++) {
            double sum = 0;
            for (int64_t l = 0; l < m; l++)
                sum += x[l * k + i] * x[l * k + j];
            worst = fmax(worst, fabs(sum - (i == j)));
        }
    return worst;
}

/* Of each column the first component of at least 0.45 times the greatest size is positive. Nothing is
 * said of a column in which rounding may decide which one that is. */
static inline bool signs_hold(int64_t m, int64_t k, const double *x)
{
    for (int64_t j = 0; j < k; j++) {
        double top = 0;
        int64_t i = 0;
        for (int64_t l = 0; l < m; l++)
            top = fmax(top, fabs(x[l * k + j]));
        while (i < m && fabs(x[i * k + j]) < 0.44999 * top)
            i++;
        if (i < m && fabs(x[i * k + j]) > 0.45001 * top && x[i * k + j] < 0)
            return false;
    }
    return true;
}

#endif
