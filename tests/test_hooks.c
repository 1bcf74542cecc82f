/*
 * Hooks on adjoints.
 *
 * They obey all laws but that of differences: what each makes of an adjoint is asserted, on scalars
 * and tensors, in the first and second order, and so is what a function of the user's may get wrong.
 */
#include "check/laws.h"
#include "counting.h"
#include "diff/hooks.h"
#include "error_is.h"

#include <float.h>
#include <math.h>

START_TEST(hooks_obey)
{
    nb_law_report r;
    nb_code code = nbi_check_hook(nbi_hook_ops[_i], &r);
    ck_assert_msg(code == NB_OK, "%s: %s: %s", nbi_hook_ops[_i]->name, nb_code_name(code), r.text);
    ck_assert_uint_gt(r.law[NB_LAW_EXAMPLES].passed, 0);
    for (int law = NB_LAW_TRANSPOSE; law < NB_LAW_COUNT; law++)
        ck_assert_msg(r.law[law].tried == r.law[law].passed && r.law[law].tried > 0, "%s: %s",
                      nbi_hook_ops[_i]->name, nb_law_name((nb_law)law));
}
END_TEST

static nb_var squared(void *context, nb_var g)
{
    ++*(int *)context;
    return nb_square(g);
}

static void note(void *context, nb_var g) { *(double *)context = nb_value(nb_sum(g)); }

static nb_var hooked(nb_var x, int which, int *calls, double *seen)
{
    switch (which) {
    case 0: return nb_straight_through(nb_round(x), x);
    case 1: return nb_scale_gradient(x, 0.5);
    case 2: return nb_reverse_gradient(x, 3);
    case 3: return nb_clip_gradient(x, -1, 2);
    case 4: return nb_clip_gradient_norm(x, 2);
    case 5: return nb_hook(x, squared, calls);
    default: return nb_watch_gradient(x, note, seen);
    }
}

/* f = sum of c y with y the hooked x: what comes back is the hook's of c. */
START_TEST(values_of_hooks)
{
    static const double x0[] = {0.4, -1.6, 2.25}, c[] = {3, -4, 0.5};
    const double norm = sqrt(9 + 16 + 0.25);
    const double due[7][3] = {{3, -4, 0.5},
                              {1.5, -2, 0.25},
                              {-9, 12, -1.5},
                              {2, -1, 0.5},
                              {6 / norm, -8 / norm, 1 / norm},
                              {9, 16, 0.25},
                              {3, -4, 0.5}};
    for (int dtype = 0; dtype < 2; dtype++)
        for (int which = 0; which < 7; which++) {
            nb_tape *t = nb_tape_new(&(nb_options){.dtype = dtype ? NB_F32 : NB_F64});
            int calls = 0;
            double seen = 0, g[3], v[3];
            nb_var x = nb_tensor(t, "x", NB_SHAPE(3), x0), d;
            nb_var y = hooked(x, which, &calls, &seen);
            nb_var f = nb_sum(nb_mul(y, nb_constant_tensor(t, NB_SHAPE(3), c)));
            nb_read(y, v, 3);
            ck_assert_int_eq(nb_backward(f), NB_OK);
            nb_read_grad(x, g, 3);
            for (int i = 0; i < 3; i++) {
                double value = which ? (dtype ? (double)(float)x0[i] : x0[i]) : round(x0[i]);
                ck_assert_double_eq(v[i], value);
                ck_assert_double_eq_tol(g[i], due[which][i], dtype ? 1e-6 : 1e-15);
            }
            ck_assert_int_eq(calls, which == 5);
            ck_assert_double_eq(seen, which == 6 ? -0.5 : 0);
            ck_assert_int_eq(nb_diff(1, &f, NULL, 1, &x, &d), NB_OK);
            nb_read(d, g, 3);
            for (int i = 0; i < 3; i++)
                ck_assert_double_eq_tol(g[i], due[which][i], dtype ? 1e-6 : 1e-15);
            ck_assert_str_eq(nb_message(t), "");
            nb_tape_free(t);
        }
}
END_TEST

/* f = y^3, y the hooked scalar x. The answer to g = 3 y^2 is a function of y, and the adjoint that its
 * derivative sends back to x goes through the hook once more. */
START_TEST(second_order_of_hooks)
{
    const double x0 = 0.6, g = 3 * x0 * x0, dg = 6 * x0, all = 2 * g * dg;
    const double first[7] = {0, 0.5 * g, -3 * g, g, g, g * g, g};
    const double second[7] = {0, 0.5 * 0.5 * dg, 3 * 3 * dg, 2, 2, all * all, dg};
    for (int which = 1; which < 7; which++) {
        nb_tape *t = nb_tape_new(NULL);
        int calls = 0;
        double seen;
        nb_var x = nb_input(t, "x", x0), y = hooked(x, which, &calls, &seen);
        nb_var d = nb_derivative(nb_powi(y, 3), x);
        ck_assert_double_eq_tol(nb_value(d), first[which], 1e-15);
        ck_assert_int_eq(nb_backward(d), NB_OK);
        ck_assert_double_eq_tol(nb_grad(x), second[which], 1e-13);
        nb_tape_free(t);
    }
}
END_TEST

static nb_var misshapen(void *context, nb_var g)
{
    (void)context;
    return nb_ones(g.tape, NB_SHAPE(7));
}

static nb_var no_answer(void *context, nb_var g)
{
    (void)context;
    (void)g;
    return NB_NONE;
}

static nb_var breaks(void *context, nb_var g)
{
    (void)context;
    return nb_matmul(g, nb_ones(g.tape, NB_SHAPE(7)));
}

START_TEST(bad_hooks)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_var x = nb_tensor(t, "x", NB_SHAPE(3), (double[]){1, 2, 3}), s = nb_input(t, "s", 1);
    ck_assert(!nb_ok(nb_straight_through(x, s)));
    is(t, NB_ERR_SHAPE, "straight_through: the value and what");
    ck_assert(!nb_ok(nb_straight_through(s, x)));
    is(t, NB_ERR_SHAPE, "\"x\"");
    ck_assert(!nb_ok(nb_scale_gradient(x, (double)NAN)));
    is(t, NB_ERR_ARGUMENT, "scale_gradient: the factor is nan");
    ck_assert(!nb_ok(nb_clip_gradient(x, 1, -1)));
    is(t, NB_ERR_ARGUMENT, "low is 1, high is -1");
    ck_assert(!nb_ok(nb_clip_gradient(x, (double)NAN, 1)));
    is(t, NB_ERR_ARGUMENT, "clip_gradient");
    ck_assert(!nb_ok(nb_clip_gradient_norm(x, 0)));
    is(t, NB_ERR_ARGUMENT, "it is 0");
    ck_assert(!nb_ok(nb_clip_gradient_norm(x, (double)INFINITY)));
    is(t, NB_ERR_ARGUMENT, "clip_gradient_norm");
    ck_assert(!nb_ok(nb_hook(x, NULL, NULL)));
    is(t, NB_ERR_ARGUMENT, "hook: the function is NULL");
    ck_assert(!nb_ok(nb_watch_gradient(x, NULL, NULL)));
    is(t, NB_ERR_ARGUMENT, "watch_gradient: the function is NULL");
    ck_assert_int_eq(nb_backward(nb_sum(nb_hook(x, misshapen, NULL))), NB_ERR_CALLBACK);
    is(t, NB_ERR_CALLBACK, "hook: the reverse rule's answer for operand a has shape [7]");
    ck_assert_int_eq(nb_backward(nb_sum(nb_hook(x, breaks, NULL))), NB_ERR_SHAPE);
    is(t, NB_ERR_SHAPE, "\n    in the function of hook");
    ck_assert_int_eq(nb_backward(nb_add(s, nb_sum(nb_hook(x, no_answer, NULL)))), NB_OK);
    ck_assert(!nb_grad_data(x) && nb_grad(s) == 1);
    ck_assert_double_eq(nb_value(nb_scale_gradient(nb_num(3), 2)), 3);
    ck_assert_str_eq(nb_message(t), "");
    nb_tape_free(t);
}
END_TEST

/* The result of a hook on a tensor is no copy. */
START_TEST(hooks_share_storage)
{
    nb_tape *t = nb_tape_new(NULL);
    int calls = 0;
    double seen = 0;
    nb_var x = nb_leaf("x", nb_ones(t, NB_SHAPE(1000)));
    for (int which = 1; which < 7; which++)
        ck_assert_ptr_eq(nb_data(hooked(x, which, &calls, &seen)), nb_data(x));
    nb_tape_free(t);
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("hooks");
    tcase_set_timeout(c, 60);
    tcase_add_loop_test(c, hooks_obey, 0, NBI_HOOK_OPS);
    tcase_add_test(c, values_of_hooks);
    tcase_add_test(c, second_order_of_hooks);
    tcase_add_test(c, bad_hooks);
    tcase_add_test(c, hooks_share_storage);
    return run_case("hooks", c);
}
