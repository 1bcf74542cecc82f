/*
 * Reductions against plain loops: for every set of axes of several shapes, kept or not, in both
 * types, the value and the gradient of each reduction are compared with what its definition says of
 * the list of elements behind each result:
 *
 *     y = f(v[0..n)),        dx = g dy/dv        with f and its slopes in long double
 *
 * Then the hard points of the numerical table, sums of many terms, empty operands, what is refused.
 */
#include "run.h"

#include <math.h>
#include <nabla/diff.h>
#include <nabla/op.h>
#include <nabla/ops.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/reduce.h"

enum { MOST = 1024 };

typedef long double real;

static nb_tape *tape_of(nb_dtype d)
{
    nb_tape *t = nb_tape_new(&(nb_options){.dtype = d});
    ck_assert_ptr_nonnull(t);
    return t;
}

/* ---- definitions ----------------------------------------------------------------------------- */

static real sum_of(const real *v, int n)
{
    real s = 0;
    for (int i = 0; i < n; i++)
        s += v[i];
    return s;
}

static real mean_of(const real *v, int n) { return sum_of(v, n) / n; }

static real prod_of(const real *v, int n)
{
    real p = 1;
    for (int i = 0; i < n; i++)
        p *= v[i];
    return p;
}

static real max_of(const real *v, int n)
{
    real m = v[0];
    for (int i = 1; i < n; i++)
        m = v[i] > m ? v[i] : m;
    return m;
}

static real min_of(const real *v, int n)
{
    real m = v[0];
    for (int i = 1; i < n; i++)
        m = v[i] < m ? v[i] : m;
    return m;
}

static real var_of(const real *v, int n)
{
    real m = mean_of(v, n), s = 0;
    for (int i = 0; i < n; i++)
        s += (v[i] - m) * (v[i] - m);
    return s / n;
}

static real std_of(const real *v, int n) { return sqrtl(var_of(v, n)); }

static real norm_of(const real *v, int n)
{
    real s = 0;
    for (int i = 0; i < n; i++)
        s += v[i] * v[i];
    return sqrtl(s);
}

static real lse_of(const real *v, int n)
{
    real s = 0;
    for (int i = 0; i < n; i++)
        s += expl(v[i]);
    return logl(s);
}

static real sum_slope(const real *v, int n, int i) { return (void)v, (void)n, (void)i, 1; }
static real mean_slope(const real *v, int n, int i) { return (void)v, (void)i, 1.0L / n; }
static real max_slope(const real *v, int n, int i) { return v[i] == max_of(v, n); }
static real min_slope(const real *v, int n, int i) { return v[i] == min_of(v, n); }
static real norm_slope(const real *v, int n, int i) { return v[i] / norm_of(v, n); }
static real lse_slope(const real *v, int n, int i) { return expl(v[i] - lse_of(v, n)); }
static real var_slope(const real *v, int n, int i) { return 2 * (v[i] - mean_of(v, n)) / n; }

static real std_slope(const real *v, int n, int i)
{
    return n == 1 ? 0 : (v[i] - mean_of(v, n)) / (n * std_of(v, n));
}

static real prod_slope(const real *v, int n, int i)
{
    return prod_of(v, i) * prod_of(v + i + 1, n - i - 1);
}

static nb_var var0(nb_var x, nb_axes axes, bool keep) { return nb_var_over(x, axes, 0, keep); }
static nb_var std0(nb_var x, nb_axes axes, bool keep) { return nb_std_over(x, axes, 0, keep); }

static const struct {
    nb_var (*op)(nb_var, nb_axes, bool);
    real (*value)(const real *, int);
    real (*slope)(const real *, int, int);
} reductions[] = {
    {(nb_sum_over), sum_of, sum_slope},
    {(nb_mean_over), mean_of, mean_slope},
    {(nb_prod_over), prod_of, prod_slope},
    {(nb_amax_over), max_of, max_slope},
    {(nb_amin_over), min_of, min_slope},
    {var0, var_of, var_slope},
    {std0, std_of, std_slope},
    {(nb_norm_over), norm_of, norm_slope},
    {(nb_logsumexp_over), lse_of, lse_slope},
};

enum { REDUCTIONS = sizeof reductions / sizeof *reductions };

static const nb_shape shapes[] = {
    {1, {1}},
    {1, {37}},
    {1, {600}},
    {2, {3, 70}},
    {2, {70, 3}},
    {3, {3, 4, 5}},
    {4, {2, 1, 3, 2}},
    {5, {2, 3, 2, 3, 2}},
    {0, {0}},
    {2, {2, 130}},
    {8, {1, 2, 1, 2, 2, 1, 2, 2}},
};

enum { SHAPES = sizeof shapes / sizeof *shapes };

/* ---- the plain loop -------------------------------------------------------------------------- */

/* The result of each element, counted in row-major order of the kept axes. */
static void cells_of(nb_shape s, unsigned mask, int *cell)
{
    int64_t at[NB_MAX_RANK] = {0}, size = nb_shape_size(s);
    for (int64_t i = 0; i < size; i++) {
        int64_t c = 0;
        for (int d = 0; d < s.rank; d++)
            if (!(mask >> d & 1))
                c = c * s.dims[d] + at[d];
        cell[i] = (int)c;
        for (int d = s.rank - 1; d >= 0 && ++at[d] == s.dims[d]; d--)
            at[d] = 0;
    }
}

static void ck_near(double x, real y, nb_dtype d)
{
    double scale = 1 + (double)fabsl(y);
    ck_assert_double_eq_tol(x, (double)y, scale * (d == NB_F64 ? 1e-13 : 2e-6));
}

static void compare(int which, nb_dtype d, nb_shape s, unsigned mask, bool keep)
{
    nb_tape *t = tape_of(d);
    nb_rng r = nb_rng_seed(mask + 7);
    double x[MOST], y[MOST], g[MOST], dx[MOST];
    int cell[MOST];
    int64_t size = nb_shape_size(s);
    for (int i = 0; i < MOST; i++) {
        x[i] = (double)(float)(2 * nb_rng_uniform(&r) - 1) * (which == 2 ? 2 : 1);
        g[i] = (double)(float)nb_rng_normal(&r);
    }
    nb_axes axes = {0, {0}};
    for (int i = 0; i < s.rank; i++)
        if (mask >> i & 1)
            axes.axis[axes.count++] = i % 2 ? i : i - s.rank; /* some from the end */
    nb_var in = nb_tensor(t, "x", s, x), out = reductions[which].op(in, axes, keep);
    ck_assert_msg(nb_ok(out), "%s", nb_message(t));
    ck_assert_int_eq(nb_is_tensor(out), keep || axes.count < s.rank);
    if (nb_is_tensor(out))
        ck_assert_int_eq(nb_rank(out), keep ? s.rank : s.rank - axes.count);
    ck_assert_int_eq(nb_read(out, y, nb_size(out)), NB_OK);
    const double *seed = g;
    ck_assert_int_eq(nb_backward_with(&(nb_sweep){.n_out = 1, .out = &out, .seed = &seed}), NB_OK);
    ck_assert_int_eq(nb_read_grad(in, dx, size), NB_OK);

    cells_of(s, mask, cell);
    for (int c = 0; c < nb_size(out); c++) {
        real v[MOST];
        int place[MOST], n = 0;
        for (int i = 0; i < size; i++)
            if (cell[i] == c) {
                place[n] = i;
                v[n++] = (real)x[i];
            }
        ck_near(y[c], reductions[which].value(v, n), d);
        for (int i = 0; i < n; i++)
            ck_near(dx[place[i]], (real)g[c] * reductions[which].slope(v, n, i), d);
    }
    nb_tape_free(t);
}

START_TEST(plain_loops)
{
    for (int s = 0; s < SHAPES; s++)
        for (unsigned mask = 0; mask < 1u << shapes[s].rank; mask++)
            for (int keep = 0; keep < 2; keep++)
                for (int d = 0; d < 2; d++)
                    compare(_i, d ? NB_F32 : NB_F64, shapes[s], mask, keep);
}
END_TEST

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

/* An adjoint of 0 passes exactly 0, whatever the slope. */
START_TEST(nothing_from_nothing)
{
    const double bad[4] = {(double)NAN, inf, -inf, 1}, zero = 0, *seed = &zero;
    double g[4];
    nb_tape *t = tape_of(NB_F64);
    nb_var x = nb_tensor(t, "x", NB_SHAPE(4), bad);
    for (int i = 0; i < REDUCTIONS; i++) {
        nb_var y = reductions[i].op(x, NB_ALL, false);
        nb_backward_with(&(nb_sweep){.n_out = 1, .out = &y, .seed = &seed});
        nb_read_grad(x, g, 4);
        for (int j = 0; j < 4; j++)
            IS(g[j], 0);
    }
    nb_tape_free(t);
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

/* ---- nothing, scalars, refusals -------------------------------------------------------------- */

START_TEST(empty)
{
    nb_tape *t = tape_of(NB_F64);
    nb_var x = nb_tensor(t, "x", NB_SHAPE(2, 0), NULL);
    double y[2];
    IS(nb_value(nb_sum(x)), 0);
    IS(nb_value(nb_prod(x)), 1);
    IS(nb_value(nb_norm(x)), 0);
    IS(nb_value(nb_logsumexp(x)), -inf);
    ck_assert_int_eq(nb_read(nb_prod_over(x, NB_AXES(1), false), y, 2), NB_OK);
    IS(y[0] + y[1], 2);
    ck_assert_int_eq(nb_backward(nb_sum(nb_logsumexp_over(x, NB_AXES(1), false))), NB_OK);
    ck_assert_int_eq(nb_size(nb_amax_over(x, NB_AXES(0), false)), 0);
    ck_assert_int_eq(nb_status(t), NB_OK);
    nb_var (*const refused[])(nb_var, nb_axes, bool) = {(nb_mean_over), (nb_amax_over),
                                                        (nb_amin_over), var0, std0};
    for (int i = 0; i < 5; i++) {
        ck_assert(!nb_ok(refused[i](x, NB_AXES(1), false)));
        ck_assert_int_eq(nb_status(t), NB_ERR_EMPTY);
        nb_clear(t);
    }
    nb_tape_free(t);
}
END_TEST

START_TEST(scalars)
{
    for (int d = 0; d < 2; d++) {
        nb_tape *t = tape_of(d ? NB_F32 : NB_F64);
        for (int i = 0; i < REDUCTIONS; i++) {
            nb_var x = nb_input(t, "x", .5), y = reductions[i].op(x, NB_ALL, false);
            real v = .5L;
            ck_near(nb_value(y), reductions[i].value(&v, 1), d ? NB_F32 : NB_F64);
            ck_assert_int_eq(nb_backward(y), NB_OK);
            ck_near(nb_grad(x), reductions[i].slope(&v, 1, 0), d ? NB_F32 : NB_F64);
        }
        nb_tape_free(t);
    }
}
END_TEST

START_TEST(refusals)
{
    const double one[6] = {1, 2, 3, 4, 5, 6};
    nb_tape *t = tape_of(NB_F64);
    nb_var x = nb_tensor(t, "x", NB_SHAPE(2, 3), one);
    const nb_axes bad[] = {
        NB_AXES(2), NB_AXES(-3), NB_AXES(0, -2), NB_AXES(0, 1, 2, 3, 4, 5, 6, 7, 8), {-2, {0}}};
    for (int i = 0; i < REDUCTIONS; i++)
        for (size_t j = 0; j < sizeof bad / sizeof *bad; j++) {
            ck_assert(!nb_ok(reductions[i].op(x, bad[j], false)));
            ck_assert_int_eq(nb_status(t), NB_ERR_AXIS);
            nb_clear(t);
        }
    nb_sum_over(x, NB_AXES(5), false);
    ck_assert_ptr_nonnull(strstr(nb_message(t), "sum: no such axis"));
    ck_assert_ptr_nonnull(strstr(nb_message(t), "axis 5 of 2"));
    nb_clear(t);
    ck_assert(!nb_ok(nb_var_over(x, NB_AXES(1), 3, false)));
    ck_assert_int_eq(nb_status(t), NB_ERR_EMPTY);
    nb_clear(t);
    ck_assert(!nb_ok(nb_std(nb_tensor(t, NULL, NB_SHAPE(1), one), 1)));
    nb_clear(t);
    ck_assert(!nb_ok(nb_sum(NB_NONE)));
    IS(nb_value(nb_sum(x)), 21); /* the tape is as usable as before */
    nb_tape_free(t);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("reduce");
    TCase *c = tcase_create("reduce");
    tcase_set_timeout(c, 60);
    tcase_add_loop_test(c, plain_loops, 0, REDUCTIONS);
    tcase_add_test(c, norms);
    tcase_add_test(c, norm_of_large_floats);
    tcase_add_test(c, logsumexps);
    tcase_add_test(c, products);
    tcase_add_test(c, second_order);
    tcase_add_test(c, variances);
    tcase_add_test(c, extremes);
    tcase_add_test(c, nothing_from_nothing);
    tcase_add_test(c, many_floats);
    tcase_add_test(c, many_doubles);
    tcase_add_test(c, empty);
    tcase_add_test(c, scalars);
    tcase_add_test(c, refusals);
    suite_add_tcase(s, c);
    return run_suite(s);
}
