/*
 * What tests of matrices share.
 */
#ifndef NABLA_TESTS_MATRIX_H
#define NABLA_TESTS_MATRIX_H

#include "counting.h"

#include <math.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))

static inline double *doubles(size_t n)
{
    double *p = calloc(n, sizeof *p);
    ck_assert_ptr_nonnull(p);
    return p;
}

/* |a - b| <= tol (1 + the largest |b|), everywhere */
static inline void same(size_t n, const double *a, const double *b, double tol)
{
    double most = 1;
    for (size_t i = 0; i < n; i++)
        most = fmax(most, fabs(b[i]));
    for (size_t i = 0; i < n; i++)
        ck_assert_msg(fabs(a[i] - b[i]) <= tol * most, "element %zu: %.17g, not %.17g", i, a[i],
                      b[i]);
}

#endif
