/*
 * The cases of the program `derivatives`, one function each. A case checks its results, prints its
 * figures, and returns whether the results were right.
 */
#ifndef NABLA_BENCH_DERIVATIVES_H
#define NABLA_BENCH_DERIVATIVES_H

#include "bench.h"

#include <math.h>
#include <nabla.h>

bool bench_hvp(bool quick);
bool bench_jacobian(bool quick);
bool bench_checkpoint(bool quick);
bool bench_ode(bool quick);
bool bench_sparse(bool quick);

static inline double *bench_numbers(size_t n)
{
    double *p = calloc(n ? n : 1, sizeof *p);
    if (!p)
        exit(1);
    return p;
}

/* Whether a and b agree within tol of the largest number; if not, says so. */
static inline bool bench_agree(const char *what, size_t n, const double *a, const double *b,
                               double tol)
{
    double most = 1e-300, apart = 0;
    for (size_t i = 0; i < n; i++) {
        most = fmax(most, fabs(b[i]));
        apart = a[i] == a[i] ? fmax(apart, fabs(a[i] - b[i])) : (double)INFINITY;
    }
    if (!(apart <= tol * most))
        fprintf(stderr, "derivatives: %s: off by %g of %g\n", what, apart, most);
    return apart <= tol * most;
}

#endif
