/*
 * Tests of operations that move elements about.
 *
 * A tensor whose element i has the value i + 1 is moved; what comes out then tells where each
 * element came from, so that one list of numbers states the whole result. Every such map is linear
 * with ones for coefficients: with the seed u, the gradient at a place is the sum of the seeds of
 * all places it was copied to. `follows` checks just that, from the values alone, so an operation
 * has its gradient checked by its own result.
 */
#ifndef NABLA_TESTS_RAMP_H
#define NABLA_TESTS_RAMP_H

#include "run.h"

#include <math.h>
#include <nabla.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 4096 };

static nb_tape *tape_of(int dtype)
{
    nb_tape *t = nb_tape_new(&(nb_options){.dtype = (nb_dtype)dtype});
    ck_assert_ptr_nonnull(t);
    return t;
}

/* Elements 1, 2, 3, …: 0 is left for what an operation adds. */
static nb_var ramp(nb_tape *t, nb_shape shape)
{
    static double values[MOST];
    for (int i = 0; i < MOST; i++)
        values[i] = i + 1;
    return nb_tensor(t, "x", shape, values);
}

/* y is made of elements of the ramp x, and of others that are not above 0. The gradient is swept
 * twice: alone, and on top of x's own, as a second output with a seed of ones. */
static void follows(nb_var y, nb_var x)
{
    int64_t n = nb_size(x), m = nb_size(y);
    double *from = calloc((size_t)m + 1, sizeof *from), *seed = calloc((size_t)m + 1, sizeof *seed);
    double *want = calloc((size_t)n + 1, sizeof *want), *got = calloc((size_t)n + 1, sizeof *got);
    double *ones = calloc((size_t)n + 1, sizeof *ones);
    ck_assert_int_eq(nb_read(y, from, m), NB_OK);
    for (int64_t i = 0; i < m; i++) {
        seed[i] = (double)(i % 7) - 2.5;
        if (from[i] > 0)
            want[(int64_t)from[i] - 1] += seed[i];
    }
    for (int64_t i = 0; i < n; i++)
        ones[i] = 1;
    for (size_t n_out = 1; n_out <= 2; n_out++) {
        const nb_var out[] = {y, x};
        const double *const seeds[] = {seed, ones};
        const nb_sweep sweep = {.n_out = n_out, .out = out, .seed = seeds};
        ck_assert_int_eq(nb_backward_with(&sweep), NB_OK);
        ck_assert_int_eq(nb_read_grad(x, got, n), NB_OK);
        for (int64_t i = 0; i < n; i++)
            ck_assert_double_eq(got[i], want[i] + (n_out == 2 ? 1 : 0));
    }
    free(from), free(seed), free(want), free(got), free(ones);
}

static void has_shape(nb_var y, nb_shape shape)
{
    ck_assert_msg(nb_ok(y), "refused");
    ck_assert(nb_shape_equal(nb_shape_of(y), shape));
}

static void is(nb_var y, nb_shape shape, const double *values)
{
    double got[MOST];
    has_shape(y, shape);
    ck_assert_int_eq(nb_read(y, got, nb_size(y)), NB_OK);
    for (int64_t i = 0; i < nb_size(y); i++)
        ck_assert_double_eq(got[i], values[i]);
}

#define VALUES(...) ((const double[]){__VA_ARGS__})

/* y was refused for that reason, nothing was recorded, and the tape goes on. */
static void refused(nb_var y, nb_var x, nb_code code, size_t count)
{
    nb_tape *t = x.tape;
    ck_assert(!nb_ok(y));
    ck_assert_msg(nb_status(t) == code, "%s", nb_message(t));
    ck_assert_uint_gt(strlen(nb_message(t)), 0);
    ck_assert_uint_eq(nb_count(t), count);
    nb_clear(t);
    ck_assert(nb_ok(nb_neg(x)));
}

#define REFUSED(call, x, code)              \
    do {                                    \
        size_t count_ = nb_count((x).tape); \
        refused(call, x, code, count_);     \
    } while (0)

/* Runs each test on a tape of doubles and on one of floats: _i is the type. */
static int run(const char *name, size_t n, const TTest *const *tests)
{
    Suite *suite = suite_create(name);
    TCase *c = tcase_create(name);
    for (size_t i = 0; i < n; i++)
        tcase_add_loop_test(c, tests[i], 0, 2);
    suite_add_tcase(suite, c);
    return run_suite(suite);
}

#endif
