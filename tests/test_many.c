/*
 * Functions of many scalars: one node each, held to the same function built from nodes of two
 * operands, to central differences, and to the figures of the numerical conventions where the plain
 * formula fails.
 */
#include "counting.h"

#include <math.h>

#include <nabla/ops.h>

enum { N = 12, FUNCTIONS = 9 };

static const double coefficients[N] = {1, -2, 0.5, 3, 0, 1.5, -1, 2, 0.25, -0.75, 4, 1};

static nb_var fused(int f, const nb_var *x)
{
    switch (f) {
    case 0: return nb_sum_of(N, x);
    case 1: return nb_mean_of(N, x);
    case 2: return nb_dot_of(N / 2, x, x + N / 2);
    case 3: return nb_combine_of(N, coefficients, x);
    case 4: return nb_logsumexp_of(N, x);
    case 5: return nb_norm_of(N, x);
    case 6: return nb_max_of(N, x);
    case 7: return nb_min_of(N, x);
    default: return nb_maxout_of(2, 3, x, x + 6, x + 8); /* w [2 3], b [2], x [3] */
    }
}

static nb_var piece(const nb_var *x, int j)
{
    nb_var s = x[6 + j];
    for (int i = 0; i < 3; i++)
        s = nb_add(s, nb_mul(x[3 * j + i], x[8 + i]));
    return s;
}

static nb_var plain(int f, const nb_var *x)
{
    nb_var s = f >= 4 ? x[0] : nb_num(0);
    if (f == 8)
        return nb_max(piece(x, 0), piece(x, 1));
    if (f == 5)
        s = nb_square(x[0]);
    for (int i = f >= 4; i < (f == 2 ? N / 2 : N); i++)
        s = f == 2   ? nb_add(s, nb_mul(x[i], x[i + N / 2]))
            : f == 3 ? nb_add(s, nb_mul(coefficients[i], x[i]))
            : f == 4 ? nb_logaddexp(s, x[i])
            : f == 5 ? nb_add(s, nb_square(x[i]))
            : f == 6 ? nb_max(s, x[i])
            : f == 7 ? nb_min(s, x[i])
                     : nb_add(s, x[i]);
    return f == 1 ? nb_div(s, N) : f == 5 ? nb_sqrt(s) : s;
}

static void inputs(nb_tape *t, const double *value, nb_var *x)
{
    for (int i = 0; i < N; i++)
        x[i] = nb_input(t, NULL, value[i]);
}

START_TEST(fused_against_plain)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_rng g = nb_rng_seed(3);
    for (int trial = 0; trial < 20; trial++) {
        double value[N], once[N], dx[N], along = 0;
        const double *direction[N];
        nb_var x[N];
        for (int i = 0; i < N; i++) {
            value[i] = 2 * nb_rng_normal(&g);
            dx[i] = nb_rng_normal(&g);
            direction[i] = &dx[i];
        }
        nb_reset(t);
        inputs(t, value, x);
        size_t before = nb_count(t);
        nb_var f = fused(_i, x);
        ck_assert_uint_eq(nb_count(t), before + 1);
        ck_assert_int_eq(nb_backward(f), NB_OK);
        for (int i = 0; i < N; i++)
            along += dx[i] * (once[i] = nb_grad(x[i]));
        nb_var p = plain(_i, x);
        ck_assert_double_eq_tol(nb_value(f), nb_value(p), 1e-13 * (1 + fabs(nb_value(p))));
        ck_assert_int_eq(nb_backward(p), NB_OK);
        for (int i = 0; i < N; i++)
            ck_assert_double_eq_tol(once[i], nb_grad(x[i]), 1e-13 * (1 + fabs(once[i])));
        ck_assert_int_eq(nb_forward(N, x, direction), NB_OK);
        ck_assert_double_eq_tol(nb_tangent(f), along, 1e-12 * (1 + fabs(along)));
    }
    nb_tape_free(t);
}
END_TEST

START_TEST(constants_numbers_and_repeats)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_var x = nb_input(t, "x", 3), c = nb_constant(t, 5);
    nb_var mixed[4] = {nb_num(2), x, c, x}, still[2] = {c, nb_num(1)};
    ck_assert_int_eq(nb_backward(nb_sum_of(4, mixed)), NB_OK);
    ck_assert_double_eq(nb_grad(x), 2);
    ck_assert_double_eq(nb_grad(c), 0);
    nb_var d = nb_dot_of(4, mixed, mixed);
    ck_assert_double_eq(nb_value(d), 4 + 9 + 25 + 9);
    nb_backward(d);
    ck_assert_double_eq(nb_grad(x), 12);
    nb_var k = nb_sum_of(2, still);
    ck_assert_double_eq(nb_value(k), 6);
    ck_assert(nb_inspect(k).constant);
    nb_var numbers[2] = {nb_num(1), nb_num(2)}, both[2] = {x, x};
    nb_var e = nb_dot_of(2, numbers, both); /* the tape is that of the second list */
    ck_assert_double_eq(nb_value(e), 9);
    nb_backward_with(&(nb_sweep){.n_out = 1, .out = &e, .n_want = 1, .want = &c});
    ck_assert(!nb_has_grad(x));
    ck_assert_int_eq(nb_status(t), NB_OK);
    nb_tape_free(t);
}
END_TEST

START_TEST(of_one_and_of_none)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_var x = nb_input(t, "x", -3);
    ck_assert_double_eq(nb_value(nb_mean_of(1, &x)), -3);
    ck_assert_double_eq(nb_value(nb_logsumexp_of(1, &x)), -3);
    ck_assert_double_eq(nb_value(nb_norm_of(1, &x)), 3);
    ck_assert_double_eq(nb_value(nb_max_of(1, &x)), -3);
    ck_assert_double_eq(nb_value(nb_maxout_of(1, 0, NULL, &x, NULL)), -3);
    ck_assert_double_eq(nb_value(nb_sum_of(0, NULL)), 0);
    ck_assert_double_eq(nb_value(nb_dot_of(0, NULL, NULL)), 0);
    ck_assert_double_eq(nb_value(nb_combine_of(0, NULL, NULL)), 0);
    ck_assert_double_eq(nb_value(nb_norm_of(0, NULL)), 0);
    ck_assert_double_eq(nb_value(nb_logsumexp_of(0, NULL)), -HUGE_VAL);
    ck_assert(!nb_ok(nb_mean_of(0, NULL)) && !nb_ok(nb_max_of(0, &x)) &&
              !nb_ok(nb_min_of(0, NULL)));
    ck_assert(isnan(nb_value(nb_max_of(0, NULL))));
    nb_tape_free(t);
}
END_TEST

static void refused(nb_tape *t, nb_var y, nb_code code)
{
    ck_assert(!nb_ok(y) && isnan(nb_value(y)));
    ck_assert_msg(nb_status(t) == code, "%s: %s", nb_code_name(nb_status(t)), nb_message(t));
    nb_clear(t);
}

START_TEST(what_is_refused)
{
    nb_tape *t = nb_tape_new(NULL), *u = nb_tape_new(NULL);
    nb_var x = nb_input(t, "x", 1), v = nb_ones(t, NB_SHAPE(2)), far = nb_input(u, NULL, 1);
    nb_var tensors[2] = {x, v}, foreign[2] = {x, far}, none[2] = {x, NB_NONE}, xs[2] = {x, x};
    nb_var nones[2] = {NB_NONE, NB_NONE};
    const size_t count = nb_count(t);
    refused(t, nb_sum_of(2, tensors), NB_ERR_SHAPE);
    refused(t, nb_norm_of(2, foreign), NB_ERR_HANDLE);
    refused(t, nb_dot_of(2, xs, foreign), NB_ERR_HANDLE);
    refused(t, nb_dot_of(2, xs, tensors), NB_ERR_SHAPE);
    refused(t, nb_dot_of(2, xs, NULL), NB_ERR_ARGUMENT);
    refused(t, nb_dot_of(2, NULL, xs), NB_ERR_ARGUMENT);
    refused(t, nb_combine_of(2, NULL, xs), NB_ERR_ARGUMENT);
    refused(t, nb_maxout_of(2, 1, xs, xs, NULL), NB_ERR_ARGUMENT);
    refused(t, nb_maxout_of(2, 1, NULL, xs, xs), NB_ERR_ARGUMENT);
    refused(t, nb_max_of(2, none), NB_ERR_HANDLE);
    refused(t, nb_dot_of(2, xs, nones), NB_OK); /* inert in, inert out */
    refused(t, nb_dot_of(2, nones, xs), NB_OK);
    ck_assert(!nb_ok(nb_sum_of(2, NULL)) && !nb_ok(nb_maxout_of(0, 1, NULL, NULL, xs)));
    nb_mark m = nb_tape_mark(t);
    nb_var stale[2] = {x, nb_exp(x)};
    nb_rewind(m);
    refused(t, nb_mean_of(2, stale), NB_ERR_HANDLE);
    ck_assert_uint_eq(nb_count(t), count);
    ck_assert_double_eq(nb_value(nb_sum_of(2, xs)), 2);
    nb_tape_free(t);
    nb_tape_free(u);
}
END_TEST

/* ---- hard points ----------------------------------------------------------------------------- */

static void point(nb_var (*f)(size_t, const nb_var *), double a, double b, double value, double da,
                  double db)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_var x[2] = {nb_input(t, "a", a), nb_input(t, "b", b)}, y = f(2, x);
    ck_assert_int_eq(nb_backward(y), NB_OK);
    const double got[3] = {nb_value(y), nb_grad(x[0]), nb_grad(x[1])}, due[3] = {value, da, db};
    for (int i = 0; i < 3; i++)
        ck_assert_msg(isnan(due[i])
                          ? isnan(got[i])
                          : got[i] == due[i] || fabs(got[i] - due[i]) <= 1e-15 * fabs(due[i]),
                      "%s(%g, %g), figure %d: %.17g is due, got %.17g", nb_inspect(y).op, a, b, i,
                      due[i], got[i]);
    nb_tape_free(t);
}

START_TEST(hard_points)
{
    const double inf = HUGE_VAL, root = 0.70710678118654752;
    point(nb_logsumexp_of, -inf, -inf, -inf, 0, 0);
    point(nb_logsumexp_of, inf, 0, inf, 1, 0);
    point(nb_logsumexp_of, 1000, 1000, 1000.6931471805599453, 0.5, 0.5);
    point(nb_logsumexp_of, -1e300, 5, 5, 0, 1);
    point(nb_logsumexp_of, (double)NAN, 5, (double)NAN, (double)NAN, (double)NAN);
    point(nb_norm_of, 0, 0, 0, 0, 0);
    point(nb_norm_of, 1e200, 1e200, 1.4142135623730951e200, root, root);
    point(nb_norm_of, 1e-200, 1e-200, 1.4142135623730951e-200, root, root);
    point(nb_norm_of, 3, -4, 5, 0.6, -0.8);
    point(nb_norm_of, 1, (double)NAN, (double)NAN, (double)NAN, (double)NAN);
    point(nb_norm_of, -inf, (double)NAN, (double)NAN, (double)NAN, (double)NAN);
    point(nb_max_of, 2, 2, 2, 0.5, 0.5);
    point(nb_min_of, 2, 2, 2, 0.5, 0.5);
    point(nb_max_of, -inf, -inf, -inf, 0.5, 0.5);
    point(nb_max_of, 1, (double)NAN, (double)NAN, (double)NAN, (double)NAN);
    point(nb_min_of, (double)NAN, 1, (double)NAN, (double)NAN, (double)NAN);
    point(nb_sum_of, inf, -inf, (double)NAN, 1, 1);
    point(nb_mean_of, 1e-308, 3e-308, 2e-308, 0.5, 0.5);
}
END_TEST

/* The smallest doubles: the scale factor must not round them away. */
START_TEST(norm_of_denormals)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_var x[2] = {nb_input(t, NULL, 3 * 5e-324), nb_input(t, NULL, 4 * 5e-324)};
    nb_var y = nb_norm_of(2, x);
    ck_assert_double_eq(nb_value(y), 5 * 5e-324);
    ck_assert_int_eq(nb_backward(y), NB_OK);
    ck_assert_double_eq_tol(nb_grad(x[0]), 0.6, 1e-15);
    nb_tape_free(t);
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("many");
    tcase_add_loop_test(c, fused_against_plain, 0, FUNCTIONS);
    tcase_add_test(c, constants_numbers_and_repeats);
    tcase_add_test(c, of_one_and_of_none);
    tcase_add_test(c, what_is_refused);
    tcase_add_test(c, hard_points);
    tcase_add_test(c, norm_of_denormals);
    return run_case("many", c);
}
