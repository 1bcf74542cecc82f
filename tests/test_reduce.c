/*
 * Reductions against plain loops: for every set of axes of several shapes, kept or not, in both
 * types, the value and the gradient of each reduction are compared with what its definition says of
 * the list of elements behind each result:
 *
 *     y = f(v[0..n)),        dx = g dy/dv        with f and its slopes in long double
 *
 * Then empty operands, what is refused. Hard points and long sums: test_reduce_points.c.
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

static const double inf = (double)INFINITY;

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
            ck_assert_double_eq(g[j], 0);
    }
    nb_tape_free(t);
}
END_TEST

/* ---- nothing, scalars, refusals -------------------------------------------------------------- */

START_TEST(empty)
{
    nb_tape *t = tape_of(NB_F64);
    nb_var x = nb_tensor(t, "x", NB_SHAPE(2, 0), NULL);
    double y[2];
    ck_assert_double_eq(nb_value(nb_sum(x)), 0);
    ck_assert_double_eq(nb_value(nb_prod(x)), 1);
    ck_assert_double_eq(nb_value(nb_norm(x)), 0);
    ck_assert_double_eq(nb_value(nb_logsumexp(x)), -inf);
    ck_assert_int_eq(nb_read(nb_prod_over(x, NB_AXES(1), false), y, 2), NB_OK);
    ck_assert_double_eq(y[0] + y[1], 2);
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
    ck_assert_double_eq(nb_value(nb_sum(x)), 21); /* the tape is as usable as before */
    nb_tape_free(t);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("reduce");
    TCase *c = tcase_create("reduce");
    tcase_set_timeout(c, 60);
    tcase_add_loop_test(c, plain_loops, 0, REDUCTIONS);
    tcase_add_test(c, nothing_from_nothing);
    tcase_add_test(c, empty);
    tcase_add_test(c, scalars);
    tcase_add_test(c, refusals);
    suite_add_tcase(s, c);
    return run_suite(s);
}
