/*
 * Reductions at the hard points of the numerical table, value and gradient, and sums of so many terms
 * that a careless order would show.
 */
#include "run.h"

#include "kernels/reduce.h"
#include <math.h>
#include <nabla/diff.h>
#include <nabla/ops.h>
#include <stdlib.h>
#include <string.h>

static nb_tape *tape_of(nb_dtype d)
{
    nb_tape *t = nb_tape_new(&(nb_options){.dtype = d});
    ck_assert_ptr_nonnull(t);
    return t;
}

/* ---- hard points ----------------------------------------------------------------------------- */

static double gradient[8];

static double at(nb_var (*f)(nb_var), int n, const double *x)
{
    nb_tape *t = tape_of(NB_F64);
    nb_var in = nb_tensor(t, "x", NB_SHAPE(n), x), y = f(in);
    ck_assert_int_eq(nb_backward(y), NB_OK);
    nb_read_grad(in, gradient, n);
    double value = nb_value(y);
    nb_tape_free(t);
    return value;
}

#define AT(f, ...) \
    at(f, (int)(sizeof((double[]){__VA_ARGS__}) / sizeof(double)), (double[]){__VA_ARGS__})
#define IS(x, y)   ck_assert_double_eq((x), (y))
#define NEAR(x, y) ck_assert_double_eq_tol((x), (y), 4e-16 * fabs((double)(y)))

static const double inf = (double)INFINITY;

START_TEST(norms)
{
    IS(AT((nb_norm), 0, 0), 0);
    IS(gradient[0], 0);
    IS(gradient[1], 0);
    NEAR(AT((nb_norm), 1e200, 1e200), 1.4142135623730951e200);
    NEAR(gradient[0], 0.70710678118654752);
    NEAR(AT((nb_norm), 1e-200, 1e-200), 1.4142135623730951e-200);
    NEAR(gradient[1], 0.70710678118654752);
    IS(AT((nb_norm), 3e-320, 4e-320), 5e-320);
    NEAR(AT((nb_norm), 3, 4), 5);
    IS(AT((nb_norm), -inf, 1), inf);
    ck_assert(isnan(AT((nb_norm), inf, (double)NAN)));
}
END_TEST

START_TEST(norm_of_large_floats)
{
    nb_tape *t = tape_of(NB_F32);
    const double big[2] = {3e38, 3e38}, one = 1, *seed = &one;
    double g[2];
    nb_var x = nb_tensor(t, "x", NB_SHAPE(1, 2), big), y = nb_norm(x);
    ck_assert_double_eq_tol(nb_value(y), 3e38 * sqrt(2), 1e31);
    nb_backward(y);
    nb_read_grad(x, g, 2);
    ck_assert_double_eq_tol(g[0], sqrt(.5), 1e-7);
    y = nb_norm_over(x, NB_AXES(1), false); /* infinite as a float, and yet */
    nb_backward_with(&(nb_sweep){.n_out = 1, .out = &y, .seed = &seed});
    nb_read_grad(x, g, 2);
    ck_assert_double_eq_tol(g[0], sqrt(.5), 1e-7);
    nb_tape_free(t);
}
END_TEST

START_TEST(logsumexps)
{
    NEAR(AT((nb_logsumexp), 1000, 1000), 1000.6931471805599);
    IS(gradient[0], .5);
    IS(gradient[1], .5);
    IS(AT((nb_logsumexp), -inf, -inf), -inf);
    IS(gradient[0], 0);
    IS(gradient[1], 0);
    IS(AT((nb_logsumexp), inf, 0), inf);
    IS(gradient[0], 1);
    IS(gradient[1], 0);
    IS(AT((nb_logsumexp), -inf, 3), 3);
    IS(gradient[0], 0);
    IS(gradient[1], 1);
    ck_assert(isnan(AT((nb_logsumexp), (double)NAN, inf)));
    ck_assert(isnan(gradient[1]));
}
END_TEST

/* Runs that are taken in pieces. The sum of e^(i h) is a geometric one; h is a power of two, and all
 * numbers are exact in either type. */
enum { LONG_RUN = 10001 };

static double long_run(nb_dtype d, const char *isa, const double *x, double *slope)
{
    nb_tape *t = tape_of(d);
    if (nb_set_isa(t, isa)) { /* this machine does not have it */
        nb_clear(t);
        nb_set_isa(t, NULL);
    }
    nb_var in = nb_tensor(t, "x", NB_SHAPE(LONG_RUN), x), y = nb_logsumexp(in);
    ck_assert_int_eq(nb_backward(y), NB_OK);
    nb_read_grad(in, slope, LONG_RUN);
    const double value = nb_value(y);
    nb_tape_free(t);
    return value;
}

START_TEST(long_logsumexps)
{
    static const char *const isas[] = {"plain", "avx2", "avx512", "neon"};
    static double x[LONG_RUN], g[LONG_RUN];
    const nb_dtype d = (nb_dtype)(_i / 4);
    const char *isa = isas[_i % 4];
    const double h = 0x1p-10, sum = expm1(LONG_RUN * h) / expm1(h), eps = d == NB_F64 ? 1 : 1e9;
    bool good = true;
    for (int turn = 0; turn < 2; turn++) { /* rising, and falling */
        for (int i = 0; i < LONG_RUN; i++)
            x[i] = h * (turn ? LONG_RUN - 1 - i : i);
        ck_assert_double_eq_tol(long_run(d, isa, x, g), log(sum), 2e-15 * eps * log(sum));
        for (int i = 0; i < LONG_RUN; i++)
            good = good && fabs(g[i] - exp(x[i]) / sum) <= 2e-15 * eps * g[i];
        ck_assert(good);
    }
    x[5000] = inf;
    IS(long_run(d, isa, x, g), inf);
    for (int i = 0; i < LONG_RUN; i++)
        good = good && g[i] == (i == 5000);
    x[9000] = (double)NAN;
    ck_assert(isnan(long_run(d, isa, x, g)));
    x[5000] = -inf;
    ck_assert(isnan(long_run(d, isa, x, g)));
    for (int i = 0; i < LONG_RUN; i++)
        x[i] = -inf;
    IS(long_run(d, isa, x, g), -inf);
    for (int i = 0; i < LONG_RUN; i++)
        good = good && g[i] == 0;
    x[LONG_RUN - 1] = 3;
    IS(long_run(d, isa, x, g), 3);
    IS(g[LONG_RUN - 1], 1);
    ck_assert(good && g[0] == 0);
}
END_TEST

START_TEST(products)
{
    IS(AT((nb_prod), 0, 2, 3), 0);
    IS(gradient[0], 6);
    IS(gradient[1], 0);
    IS(gradient[2], 0);
    IS(AT((nb_prod), 0, 2, 0), 0);
    IS(gradient[0] + gradient[1] + gradient[2], 0);
}
END_TEST

/* Row i of the Hessian of f at x. */
static void hessian_row(nb_var (*f)(nb_var), int n, const double *x, int i, double *row)
{
    double pick[8] = {0};
    nb_tape *t = tape_of(NB_F64);
    nb_var in = nb_tensor(t, "x", NB_SHAPE(n), x), d = nb_derivative(f(in), in);
    pick[i] = 1;
    ck_assert_msg(nb_ok(d), "%s", nb_message(t));
    nb_backward(nb_sum(nb_mul(d, nb_constant_tensor(t, NB_SHAPE(n), pick))));
    ck_assert_int_eq(nb_read_grad(in, row, n), NB_OK);
    nb_tape_free(t);
}

START_TEST(second_order)
{
    const double x[3] = {0, 2, 3}, prod[3][3] = {{0, 3, 2}, {3, 0, 0}, {2, 0, 0}};
    const double r = sqrt(13), s = 1 + exp(2) + exp(3);
    double row[3];
    for (int i = 0; i < 3; i++) {
        hessian_row((nb_prod), 3, x, i, row);
        for (int j = 0; j < 3; j++)
            IS(row[j], prod[i][j]);
        hessian_row((nb_norm), 3, x, i, row);
        for (int j = 0; j < 3; j++)
            ck_assert_double_eq_tol(row[j], ((i == j) - x[i] * x[j] / 13) / r, 1e-15);
        hessian_row((nb_logsumexp), 3, x, i, row);
        for (int j = 0; j < 3; j++)
            ck_assert_double_eq_tol(
                row[j], (i == j) * exp(x[i]) / s - exp(x[i]) / s * exp(x[j]) / s, 1e-15);
    }
    const double zero[2] = {0, 0};
    hessian_row((nb_norm), 2, zero, 0, row);
    ck_assert(!isnan(row[0]) && !isnan(row[1]));
}
END_TEST

static nb_var var1(nb_var x) { return nb_var_of(x, 1); }
static nb_var std1(nb_var x) { return nb_std(x, 1); }
static nb_var std_all(nb_var x) { return nb_std(x, 0); }

START_TEST(variances)
{
    IS(AT(var1, 1e15 + 1, 1e15 + 2, 1e15 + 3), 1);
    IS(gradient[0], -1);
    IS(gradient[1], 0);
    IS(gradient[2], 1);
    IS(AT(std1, 1e15 + 2, 1e15 + 4, 1e15 + 6), 2);
    IS(AT(std_all, 1e200, -1e200), 1e200);
    IS(AT(std_all, 1e-200, -1e-200), 1e-200);
    IS(AT(std1, 5, 5, 5), 0);
    IS(gradient[0], 0);
    ck_assert(isnan(AT(var1, 5, (double)NAN)));
}
END_TEST

START_TEST(extremes)
{
    IS(AT((nb_amax), 1, 3, 3, 2, 3), 3);
    IS(gradient[0], 0);
    for (int i = 1; i < 5; i++)
        IS(gradient[i], i == 3 ? 0 : 1. / 3);
    IS(AT((nb_amin), 2, 2), 2);
    IS(gradient[0], .5);
    IS(AT((nb_amax), -inf, -inf), -inf);
    IS(gradient[0], .5);
    ck_assert(isnan(AT((nb_amax), 1, (double)NAN, 2)));
    ck_assert(isnan(gradient[0]) && isnan(gradient[1]));
    ck_assert(isnan(AT((nb_amin), (double)NAN, 1, 2, 3, 4, 5, 6, 7)));
}
END_TEST

/* ---- long sums ------------------------------------------------------------------------------- */

/* 10^8 terms, as 100 turns over the same 10^6. */
START_TEST(many_floats)
{
    enum { RUN = 1000000 };
    float *x = malloc(RUN * sizeof *x);
    double sum;
    ck_assert_ptr_nonnull(x);
    for (int i = 0; i < RUN; i++)
        x[i] = .1f;
    nbi_nest nest = {.cells = 1,
                     .n = 100 * RUN,
                     .width = 1,
                     .run = RUN,
                     .along = 1,
                     .turns = 100,
                     .tile = 1,
                     .n_folded = 2,
                     .folded = {{RUN, 1}, {100, 0}}};
    nbi_walk k = {.nest = &nest, .dtype = NB_F32, .x = x, .z = x};
    ck_assert(nbi_walk_next(&k));
    nbi_fold(&k, NBI_FOLD_SUM, NULL, NULL, &sum);
    IS((double)(float)sum, 10000000);
    ck_assert_double_eq_tol(sum, 1e8 * (double).1f, 1e-8);
    free(x);
}
END_TEST

#define GOOD(x, y) ck_assert_double_eq_tol((x), (y), 1e-14 * (y))

/* 2^20 terms of 0.1, by rows, by columns and all at once: no more error than blocks have. */
START_TEST(many_doubles)
{
    enum { SIDE = 1024 };
    double *x = malloc((size_t)SIDE * SIDE * sizeof *x), y[SIDE];
    ck_assert_ptr_nonnull(x);
    for (int i = 0; i < SIDE * SIDE; i++)
        x[i] = .1;
    nb_tape *t = tape_of(NB_F64);
    nb_var m = nb_borrow_constant(t, NB_SHAPE(SIDE, SIDE), x);
    nb_var tall = nb_borrow_constant(t, NB_SHAPE(SIDE * SIDE / 2, 2), x);
    GOOD(nb_value(nb_sum(m)), .1 * SIDE * SIDE);
    for (int axis = 0; axis < 2; axis++) {
        nb_read(nb_sum_over(m, NB_AXES(axis), false), y, SIDE);
        for (int i = 0; i < SIDE; i++)
            GOOD(y[i], .1 * SIDE);
    }
    nb_read(nb_sum_over(tall, NB_AXES(0), false), y, 2);
    GOOD(y[0], .1 * SIDE * SIDE / 2);
    x[5] = inf;
    IS(nb_value(nb_sum(m)), inf);
    nb_tape_free(t);
    free(x);
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("reduce_points");
    tcase_set_timeout(c, 60);
    tcase_add_test(c, norms);
    tcase_add_test(c, norm_of_large_floats);
    tcase_add_test(c, logsumexps);
    tcase_add_loop_test(c, long_logsumexps, 0, 8);
    tcase_add_test(c, products);
    tcase_add_test(c, second_order);
    tcase_add_test(c, variances);
    tcase_add_test(c, extremes);
    tcase_add_test(c, many_floats);
    tcase_add_test(c, many_doubles);
    return run_case("reduce_points", c);
}
