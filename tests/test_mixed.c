/*
 * Scalars and tensors on one tape, in both element types, and numbers among them.
 *
 * One function that goes back and forth between scalars and tensors is held to central differences,
 * to its own forward sweep, and, on a float tape, to the double one. Then the figures of the
 * numerical conventions for scalar nodes, through the tape: value and gradient at each hard point.
 */
#include "counting.h"

#include <math.h>
#include <stdio.h>

#include <nabla/ops.h>

static void well(const nb_tape *t) { ck_assert_msg(nb_status(t) == NB_OK, "%s", nb_message(t)); }

static double element(const nb_tape *t, const void *data, int i)
{
    return nb_tape_dtype(t) == NB_F64 ? ((const double *)data)[i]
                                      : (double)((const float *)data)[i];
}

START_TEST(scalar_with_tensor)
{
    nb_tape *t = nb_tape_new(&(nb_options){.dtype = _i ? NB_F32 : NB_F64});
    nb_var x = nb_input(t, "x", 3), v = nb_tensor(t, "v", NB_SHAPE(2, 2), (double[]){1, 2, 3, 4});
    nb_var y = nb_mul(x, v), z = nb_sub(v, x), p = nb_leaf("p", nb_full(t, NB_POINT, 2));
    ck_assert(nb_shape_equal(nb_shape_of(y), NB_SHAPE(2, 2)));
    ck_assert_double_eq(element(t, nb_data(y), 3), 12);
    ck_assert_int_eq(nb_backward(nb_sum(nb_mul(y, z))), NB_OK); /* sum of x v (v - x) */
    ck_assert_double_eq(nb_grad(x), 30 - 2 * 3 * 10);
    for (int i = 0; i < 4; i++)
        ck_assert_double_eq(element(t, nb_grad_data(v), i), 3 * (2 * (i + 1) - 3));
    nb_var q = nb_mul(p, x); /* a tensor without axes stays one, and is a number to read */
    ck_assert(nb_is_tensor(q) && nb_rank(q) == 0 && nb_value(q) == 6);
    ck_assert_int_eq(nb_backward(q), NB_OK);
    ck_assert(nb_grad(x) == 2 && nb_grad(p) == 3);
    nb_var none = nb_mul(x, nb_ones(t, NB_SHAPE(0, 3))), s = nb_sum(none);
    ck_assert(nb_size(none) == 0 && nb_value(s) == 0);
    ck_assert_int_eq(nb_backward(s), NB_OK);
    ck_assert(nb_grad(x) == 0 && nb_has_grad(x));
    well(t);
    nb_tape_free(t);
}
END_TEST

START_TEST(there_and_back)
{
    nb_tape *t = nb_tape_new(&(nb_options){.dtype = _i ? NB_F32 : NB_F64});
    nb_var x = nb_input(t, "x", 2), y = nb_input(t, "y", 5);
    nb_var v = nb_stack(3, (nb_var[]){x, nb_mul(x, y), y}, 0); /* x, xy, y */
    nb_var a = nb_at_index(v, 1, (int64_t[]){-2}), b = nb_at_index(v, 1, (int64_t[]){0});
    nb_var f = nb_add(nb_mul(a, b), nb_sum(v)); /* x^2 y + x + xy + y */
    ck_assert(nb_is_tensor(v) && !nb_is_tensor(a) && !nb_is_tensor(f));
    ck_assert_double_eq(nb_value(f), 20 + 17);
    ck_assert_int_eq(nb_backward(f), NB_OK);
    ck_assert_double_eq(nb_grad(x), 20 + 1 + 5);
    ck_assert_double_eq(nb_grad(y), 4 + 2 + 1);
    nb_var w = nb_reshape(v, NB_SHAPE(3, 1));
    ck_assert_ptr_eq(nb_data(w), nb_data(v));   /* shares storage */
    nb_var g = nb_sum(nb_mul(nb_mul(w, v), x)); /* x (sum v)^2, the row against the column */
    ck_assert_int_eq(nb_backward(g), NB_OK);
    ck_assert_double_eq(nb_grad(y), 2 * 2 * 17 * 3);
    well(t);
    nb_tape_free(t);
}
END_TEST

START_TEST(scalars_stay_double)
{
    nb_tape *t = nb_tape_new(&(nb_options){.dtype = NB_F32});
    nb_var x = nb_input(t, "x", 0.1), y = nb_mul(x, x), v = nb_mul(nb_ones(t, NB_SHAPE(1)), x);
    ck_assert_double_eq(nb_value(y), 0.1 * 0.1);
    ck_assert_double_eq(nb_value(v), (double)0.1f);
    ck_assert_int_eq(nb_backward(y), NB_OK);
    ck_assert_double_eq(nb_grad(x), 0.2);
    nb_tape_free(t);
}
END_TEST

START_TEST(numbers_mix_in)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_var x = nb_input(t, "x", 3), v = nb_leaf("v", nb_ones(t, NB_SHAPE(2)));
    ck_assert_double_eq(nb_value(nb_add(2, x)), 5);
    ck_assert_double_eq(nb_value(nb_mul(x, 0.5f)), 1.5);
    ck_assert_double_eq(nb_value(nb_sub(7L, x)), 4);
    ck_assert_double_eq(nb_value(nb_div((unsigned char)6, x)), 2);
    ck_assert_double_eq(nb_value(nb_pow(x, 2u)), 9);
    ck_assert_double_eq(nb_value(nb_fma(2, 3, x)), 9);
    ck_assert_double_eq(nb_value(nb_where(true, x, 0)), 3);
    ck_assert_double_eq(nb_value(nb_sum(nb_mul(v, 4))), 8);
    ck_assert_double_eq(nb_value(nb_add(2, 3)), 5); /* numbers alone make a number */
    ck_assert_ptr_null(nb_exp(1).tape);
    ck_assert_double_eq(nb_value(nb_exp(1)), exp(1));
    ck_assert_double_eq(nb_value(nb_neg(nb_num(2))), -2);
    nb_var f = nb_mul(nb_pow(x, 2), nb_sub(1, nb_div(x, 4))); /* x^2 - x^3/4 */
    ck_assert_int_eq(nb_backward(f), NB_OK);
    ck_assert_double_eq_tol(nb_grad(x), 6 - 27.0 * 3 / 12, 1e-15);
    const size_t count = nb_count(t); /* equal numbers share a node */
    for (int i = 0; i < 100; i++)
        x = nb_add(nb_mul(x, 0.5), 0.25);
    ck_assert_uint_le(nb_count(t), count + 202);
    nb_var (*real)(nb_var, nb_var) = nb_add; /* behind each macro stands a function */
    ck_assert_double_eq(nb_value(real(nb_num(1), nb_num(2))), 3);
    well(t);
    nb_tape_free(t);
}
END_TEST

/* ---- one function, three ways ---------------------------------------------------------------- */

enum { SCALARS = 2, ELEMENTS = 6 };

typedef struct inputs {
    nb_var x[SCALARS], v;
} inputs;

static nb_var mixed(nb_tape *t, const double *at, inputs *in)
{
    for (int i = 0; i < SCALARS; i++)
        in->x[i] = nb_input(t, NULL, at[i]);
    in->v = nb_tensor(t, "v", NB_SHAPE(2, 3), at + SCALARS);
    nb_var x = in->x[0], y = in->x[1], v = in->v;
    nb_var h = nb_tanh(nb_add(nb_matmul(v, nb_transpose(v)), nb_mul(x, y))); /* [2 2] */
    nb_var m = nb_mean_over(nb_mul(v, y), NB_AXES(1), false);                /* [2] */
    nb_var e = nb_at_index(h, 2, (int64_t[]){0, 1}), s = nb_stack(2, (nb_var[]){e, nb_sin(x)}, 0);
    nb_var w = nb_mul(nb_softmax(nb_add(s, m), 0), nb_exp(nb_mul(h, x)));
    nb_var r = nb_norm_of(3, (nb_var[]){nb_sum(w), e, y});
    return nb_add(nb_mul(r, nb_logsumexp(h)), nb_atan2(nb_amax(v), nb_fma(x, y, e)));
}

static void gradient(inputs *in, double *g)
{
    for (int i = 0; i < SCALARS; i++)
        g[i] = nb_grad(in->x[i]);
    nb_read_grad(in->v, g + SCALARS, ELEMENTS);
}

START_TEST(one_function_three_ways)
{
    double at[] = {0.6, -1.1, 0.3, -0.8, 1.4, 0.2, 0.9, -0.5}, g[8], single[8], direction[8];
    enum { ALL = SCALARS + ELEMENTS };
    nb_tape *t = nb_tape_new(NULL), *u = nb_tape_new(&(nb_options){.dtype = NB_F32});
    inputs in, in_float;
    nb_var f = mixed(t, at, &in), f_float = mixed(u, at, &in_float);
    ck_assert_int_eq(nb_backward(f), NB_OK);
    ck_assert_int_eq(nb_backward(f_float), NB_OK);
    gradient(&in, g);
    gradient(&in_float, single);
    ck_assert_double_eq_tol(nb_value(f), nb_value(f_float), 1e-5);
    double along = 0;
    for (int i = 0; i < ALL; i++) {
        ck_assert_double_eq_tol(g[i], single[i], 1e-5);
        along += (direction[i] = cos(i + 1.0)) * g[i];
    }
    const double *dx[3] = {direction, direction + 1, direction + 2};
    ck_assert_int_eq(nb_forward(3, (nb_var[]){in.x[0], in.x[1], in.v}, dx), NB_OK);
    ck_assert_double_eq_tol(nb_tangent(f), along, 1e-12);
    ck_assert_int_eq(nb_forward(3, (nb_var[]){in_float.x[0], in_float.x[1], in_float.v}, dx),
                     NB_OK);
    ck_assert_double_eq_tol(nb_tangent(f_float), along, 1e-4);
    for (int i = 0; i < ALL; i++) {
        const double h = 1e-5, was = at[i];
        double side[2];
        for (int k = 0; k < 2; k++) {
            at[i] = was + (k ? h : -h);
            nb_reset(t);
            side[k] = nb_value(mixed(t, at, &in));
        }
        at[i] = was;
        ck_assert_double_eq_tol(g[i], (side[1] - side[0]) / (2 * h), 1e-8);
    }
    well(t);
    well(u);
    nb_tape_free(t);
    nb_tape_free(u);
}
END_TEST

/* ---- hard points ----------------------------------------------------------------------------- */

static void near(const char *what, double got, double due)
{
    ck_assert_msg(isnan(due) ? isnan(got) : got == due || fabs(got - due) <= 2e-15 * fabs(due),
                  "%s: %.17g is due, got %.17g", what, due, got);
}

static const double inf = HUGE_VAL;
#define NOT (double)NAN

static void one(nb_var (*f)(nb_var), const char *name, double x, double value, double slope)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_var a = nb_input(t, "x", x), y = f(a);
    char text[99];
    snprintf(text, sizeof text, "%s(%g)", name, x);
    ck_assert_int_eq(nb_backward(y), NB_OK);
    near(text, nb_value(y), value);
    near(strcat(text, "'"), nb_grad(a), slope);
    nb_tape_free(t);
}

static void two(nb_var (*f)(nb_var, nb_var), const char *name, double x, double y, double value,
                double dx, double dy)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_var a = nb_input(t, "x", x), b = nb_input(t, "y", y), r = f(a, b);
    char text[99];
    snprintf(text, sizeof text, "%s(%g, %g) and slopes", name, x, y);
    ck_assert_int_eq(nb_backward(r), NB_OK);
    near(text, nb_value(r), value);
    near(text, nb_grad(a), dx);
    near(text, nb_grad(b), dy);
    nb_tape_free(t);
}

START_TEST(hard_points_of_one)
{
#define ONE(f, x, value, slope) one(nb_##f, #f, x, value, slope)
    ONE(sigmoid, 40, 1, 4.2483542552915890e-18);
    ONE(sigmoid, 800, 1, 0);
    ONE(sigmoid, -800, 0, 0);
    ONE(tanh, 40, 1, 7.2194055513816607e-35);
    ONE(softplus, 20.1, 20.10000000186501, 1 / (1 + exp(-20.1)));
    ONE(softplus, -inf, 0, 0);
    ONE(silu, -inf, 0, 0);
    ONE(silu, inf, inf, 1);
    ONE(gelu, -inf, 0, 0);
    ONE(gelu, inf, inf, 1);
    ONE(relu, 0, 0, 0);
    ONE(relu, (double)NAN, NOT, NOT);
    ONE(relu6, 6, 6, 0);
    ONE(hard_tanh, 1, 1, 0);
    ONE(abs, 0, 0, 0);
    ONE(abs, (double)NAN, NOT, NOT);
    ONE(sign, (double)NAN, NOT, 0);
    ONE(sqrt, 0, 0, inf);
    ONE(sqrt, -1, NOT, NOT);
    ONE(log, 0, -inf, inf);
    ONE(log, -1, NOT, NOT);
    ONE(xlogx, 0, 0, -inf);
}
END_TEST

START_TEST(hard_points_of_two)
{
#define TWO(f, x, y, value, dx, dy) two(nb_##f, #f, x, y, value, dx, dy)
    TWO(hypot, 0, 0, 0, 0, 0);
    TWO(hypot, 1e200, 1e200, 1.4142135623730951e200, 0.70710678118654752, 0.70710678118654752);
    TWO(atan2, 0, 0, 0, 0, 0);
    TWO(max, 2, 2, 2, 0.5, 0.5);
    TWO(min, 2, 2, 2, 0.5, 0.5);
    TWO(max, (double)NAN, 1, NOT, NOT, NOT);
    TWO(pow, 0, 0, 1, 0, 0);
    TWO(pow, 0, 0.5, 0, inf, 0);
    TWO(pow, -2, 2, 4, -4, NOT);
    TWO(xlogy, 0, 0, 0, 0, 0);
    TWO(xlogy, 0, (double)NAN, NOT, NOT, NOT);
    TWO(logaddexp, -inf, -inf, -inf, 0, 0);
    TWO(logaddexp, 1000, 1000, 1000.6931471805599453, 0.5, 0.5);
    nb_tape *t = nb_tape_new(NULL);
    nb_var x = nb_input(t, "x", 0), y = nb_pow(x, -1);
    nb_backward(y);
    ck_assert(nb_value(y) == inf && nb_grad(x) == -inf);
    nb_tape_free(t);
}
END_TEST

/* An adjoint that is exactly 0 contributes exactly 0, even through an infinite slope. */
START_TEST(zero_times_infinity)
{
    nb_tape *t = nb_tape_new(&(nb_options){.dtype = _i ? NB_F32 : NB_F64});
    nb_var x = nb_input(t, "x", 0), v = nb_leaf("v", nb_zeros(t, NB_SHAPE(2)));
    ck_assert_int_eq(nb_backward(nb_where(nb_gt(x, 0), nb_sqrt(x), 0)), NB_OK);
    ck_assert(nb_grad(x) == 0 && nb_has_grad(x));
    ck_assert_int_eq(nb_backward(nb_mul(nb_log(nb_square(x)), 0)), NB_OK);
    ck_assert_double_eq(nb_grad(x), 0);
    ck_assert_int_eq(nb_backward(nb_sum(nb_where(nb_gt(v, 0), nb_sqrt(v), 0))), NB_OK);
    ck_assert_double_eq(element(t, nb_grad_data(v), 1), 0);
    const double zero = 0, *seed[1] = {&zero};
    nb_var f = nb_add(nb_sqrt(x), nb_sum(nb_log(v)));
    ck_assert_int_eq(nb_backward_with(&(nb_sweep){.n_out = 1, .out = &f, .seed = seed}), NB_OK);
    double g[2];
    ck_assert(nb_grad(x) == 0 && nb_read_grad(v, g, 2) == NB_OK && g[0] == 0);
    well(t);
    nb_tape_free(t);
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("mixed");
    tcase_add_loop_test(c, scalar_with_tensor, 0, 2);
    tcase_add_loop_test(c, there_and_back, 0, 2);
    tcase_add_test(c, scalars_stay_double);
    tcase_add_test(c, numbers_mix_in);
    tcase_add_test(c, one_function_three_ways);
    tcase_add_test(c, hard_points_of_one);
    tcase_add_test(c, hard_points_of_two);
    tcase_add_loop_test(c, zero_times_infinity, 0, 2);
    return run_case("mixed", c);
}
