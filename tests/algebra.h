/*
 * What the tests of matrix calculus share: matrices to work with, and comparisons that are relative
 * to the largest element.
 */
#ifndef NABLA_TESTS_ALGEBRA_H
#define NABLA_TESTS_ALGEBRA_H

#include "counting.h"

#include <float.h>
#include <math.h>

enum { MOST = 200 };

static double a[MOST * MOST], b[MOST * MOST], x[MOST * MOST], y[MOST * MOST], due[MOST * MOST];

static inline nb_tape *tape_of(nb_dtype d)
{
    nb_tape *t = nb_tape_new(&(nb_options){.dtype = d});
    ck_assert_ptr_nonnull(t);
    return t;
}

static inline void fill(double *to, int64_t n, uint64_t seed)
{
    nb_rng r = nb_rng_seed(seed);
    for (int64_t i = 0; i < n; i++)
        to[i] = (double)(float)(2 * nb_rng_uniform(&r) - 1);
}

static inline void get(nb_var v, double *to)
{
    ck_assert_msg(nb_read(v, to, nb_size(v)) == NB_OK, "%s", nb_message(v.tape));
}

/* |got - due| <= tol times the largest of due. */
static inline void same(const double *got, const double *exact, int64_t n, double tol)
{
    double most = 0;
    for (int64_t i = 0; i < n; i++)
        most = fmax(most, fabs(exact[i]));
    for (int64_t i = 0; i < n; i++)
        if (!(fabs(got[i] - exact[i]) <= tol * most))
            ck_abort_msg("element %d: %.17g, not %.17g", (int)i, got[i], exact[i]);
}

static inline void holds(nb_var v, const double *exact, double tol)
{
    get(v, y);
    same(y, exact, nb_size(v), tol);
}

/* The gradient of f by v. */
static inline void slopes(nb_var f, nb_var v, const double *exact, double tol)
{
    ck_assert_msg(nb_backward(f) == NB_OK, "%s", nb_message(f.tape));
    ck_assert_int_eq(nb_read_grad(v, y, nb_size(v)), NB_OK);
    same(y, exact, nb_size(v), tol);
}

static inline void second_difference(int n)
{
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++)
            a[i * n + j] = i == j ? 2 : abs(i - j) == 1 ? -1 : 0;
}

/* v was refused, with that code and a message that holds that text. */
static inline void refused(nb_tape *t, nb_var v, nb_code code, const char *text)
{
    ck_assert(!nb_ok(v));
    ck_assert_msg(nb_status(t) == code, "%s, not %s", nb_code_name(nb_status(t)), text);
    ck_assert_msg(strstr(nb_message(t), text), "\"%s\" lacks \"%s\"", nb_message(t), text);
    nb_clear(t);
}

#endif
