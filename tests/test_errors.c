/*
 * Errors: bad input gives a clear status and a message, and leaves what was recorded before usable.
 *
 * The messages that the design shows are compared word for word. NULL, foreign sizes and ranges go
 * in everywhere; a capped tape must say that it is full and go on once something was forgotten;
 * anomaly mode must name the first value or slope that is not finite. Running out of memory and
 * operations that misbehave have files of their own.
 */
#include "counting.h"
#include "error_is.h"

#include <math.h>

#include <nabla/ops.h>

/* ---- messages -------------------------------------------------------------------------------- */

START_TEST(message_of_the_design)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_var w = nb_tensor(t, "w2", NB_SHAPE(20, 2), (double[40]){0});
    nb_var h = nb_name(nb_tanh(nb_zeros(t, NB_SHAPE(32, 16))), "hidden");
    nb_var y = nb_matmul(h, w), z = nb_add(y, 1);
    ck_assert(!nb_ok(y) && !nb_ok(z) && isnan(nb_value(z)));
    ck_assert_str_eq(nb_message(t), "matmul: inner dimensions differ\n"
                                    "    a  \"hidden\"   [32 16]      node 2, from tanh\n"
                                    "    b  \"w2\"       [20 2]       node 0, input\n"
                                    "    a has 16 columns, b has 20 rows");
    nb_add(w, h); /* the first error stays */
    ck_assert_int_eq(nb_status(t), NB_ERR_SHAPE);
    ck_assert_ptr_nonnull(strstr(nb_message(t), "matmul"));
    ck_assert_int_eq(nb_backward(z), NB_ERR_SHAPE);
    nb_clear(t);
    ck_assert_int_eq(nb_backward(nb_sum(h)), NB_OK);
    ck_assert_int_eq(nb_status(t), NB_OK);
    ck_assert_str_eq(nb_message(t), "");
    nb_tape_free(t);
}
END_TEST

START_TEST(messages_name_operands)
{
    char name[3000];
    nb_tape *t = nb_tape_new(NULL);
    memset(name, 'n', sizeof name);
    name[sizeof name - 1] = 0;
    nb_var a = nb_tensor(t, name, NB_SHAPE(2), (double[]){1, 2}), b = nb_ones(t, NB_SHAPE(3)),
           many[20];
    refused(t, nb_mul(a, b), NB_ERR_SHAPE, "operand b is [3]");
    refused(t, nb_where(2, a, b), NB_ERR_SHAPE, "the number 2");
    for (int i = 0; i < 20; i++)
        many[i] = i < 19 ? a : nb_ones(t, NB_SHAPE(4, 5));
    refused(t, nb_concat(20, many, 0), NB_ERR_SHAPE, "and 14 more");
    nb_var far = nb_full(t, NB_SHAPE(1, 1, 1, 1, 1, 1, 1, INT64_C(1) << 40, 0), 1);
    refused(t, far, NB_ERR_SHAPE, "0 to 8 dimensions");
    for (nb_code c = NB_OK; c <= NBI_CODES; c++)
        ck_assert(*nb_code_name(c) && *nb_code_text(c));
    ck_assert_str_eq(nb_code_name((nb_code)-1), "unknown");
    nb_tape_free(t);
}
END_TEST

/* ---- bad input ------------------------------------------------------------------------------- */

START_TEST(null_everywhere)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_var x = nb_input(t, NULL, 1), v = nb_ones(t, NB_SHAPE(2)), n = NB_NONE,
           made[] = {nb_input(NULL, "x", 1),
                     nb_constant(NULL, 1),
                     nb_tensor(NULL, NULL, NB_SHAPE(1), (double[]){1}),
                     nb_borrow(NULL, NULL, NB_SHAPE(1), &t, NULL),
                     nb_zeros(NULL, NB_SHAPE(1)),
                     nb_eye(NULL, 1, 1),
                     nb_arange(NULL, 0, 1, 1),
                     nb_linspace(NULL, 0, 1, 2),
                     nb_node(NULL, 0),
                     nb_neg(n),
                     nb_add(n, x),
                     nb_add(x, n),
                     nb_mul(v, n),
                     nb_where(x, n, v),
                     nb_matmul(n, v),
                     nb_sum(n),
                     nb_name(n, "n"),
                     nb_retain_grad(n),
                     nb_sum_over(n, NB_ALL, true),
                     nb_reshape(n, NB_SHAPE(1)),
                     nb_leaf(NULL, n),
                     nb_stack(2, NULL, 0),
                     nb_concat(1, &n, 0),
                     nb_apply(NULL, 1, &x, NULL, 0),
                     nb_normal(NULL, NB_POINT, 0, 1, NULL)};
    for (size_t i = 0; i < sizeof made / sizeof *made; i++)
        ck_assert_msg(!nb_ok(made[i]) && isnan(nb_value(made[i])), "case %zu", i);
    nb_clear(t);
    ck_assert_int_eq(nb_status(NULL), NB_ERR_ARGUMENT);
    ck_assert_str_ne(nb_message(NULL), "");
    nb_clear(NULL);
    nb_set_anomaly(NULL, true);
    ck_assert(!nb_set_recording(NULL, true));
    ck_assert_int_eq(nb_reset(NULL), NB_ERR_ARGUMENT);
    ck_assert_int_eq(nb_rewind(nb_tape_mark(NULL)), NB_ERR_ARGUMENT);
    ck_assert_int_eq(nb_backward(n), NB_ERR_HANDLE);
    ck_assert_int_eq(nb_backward(nb_num(1)), NB_ERR_HANDLE);
    ck_assert_int_eq(nb_backward_with(NULL), NB_ERR_ARGUMENT);
    ck_assert_int_eq(nb_backward_with(&(nb_sweep){0}), NB_ERR_ARGUMENT);
    ck_assert_int_eq(nb_backward_with(&(nb_sweep){.n_out = 1}), NB_ERR_ARGUMENT);
    ck_assert_int_eq(nb_backward_with(&(nb_sweep){.n_out = 1, .out = &x, .n_want = 1}),
                     NB_ERR_ARGUMENT);
    ck_assert_int_eq(nb_forward(0, NULL, NULL), NB_ERR_ARGUMENT);
    ck_assert_int_eq(nb_forward(1, NULL, NULL), NB_ERR_ARGUMENT);
    ck_assert_int_eq(nb_forward(1, &n, NULL), NB_ERR_HANDLE);
    ck_assert(nb_read(n, NULL, 0) != NB_OK && nb_read_grad(n, NULL, 0) != NB_OK);
    ck_assert(isnan(nb_value(n)) && isnan(nb_grad(n)) && !nb_has_grad(n) &&
              nb_grad(nb_num(1)) == 0);
    ck_assert(!nb_data(n) && !nb_grad_data(n) && nb_size(n) == 1 && nb_rank(n) == 0);
    ck_assert_int_eq(nb_status(t), NB_OK);
    refused(t, nb_tensor(t, "v", NB_SHAPE(2), NULL), NB_ERR_ARGUMENT, "NULL");
    refused(t, nb_borrow(t, "v", NB_SHAPE(2), NULL, NULL), NB_ERR_ARGUMENT, "NULL");
    refused(t, nb_uniform(t, NB_SHAPE(2), 0, 1, NULL), NB_ERR_ARGUMENT, "generator");
    ck_assert(nb_ok(nb_tensor(t, "v", NB_SHAPE(0), NULL)) &&
              nb_ok(nb_borrow(t, "v", NB_SHAPE(0), NULL, NULL)));
    ck_assert_double_eq(nb_value(nb_mul(nb_sum(v), x)), 2);
    ck_assert_int_eq(nb_status(t), NB_OK);
    nb_tape_free(t);
}
END_TEST

START_TEST(sizes_and_ranges)
{
    const int64_t big = INT64_C(1) << 40;
    nb_tape *t = nb_tape_new(NULL);
    refused(t, nb_zeros(t, NB_SHAPE(big, big)), NB_ERR_OVERFLOW, "overflow");
    refused(t, nb_zeros(t, NB_SHAPE(INT64_MAX, 2)), NB_ERR_OVERFLOW, "overflow");
    refused(t, nb_zeros(t, NB_SHAPE(INT64_MAX)), NB_ERR_OVERFLOW, "overflow");
    refused(t, nb_zeros(t, NB_SHAPE(2, -1)), NB_ERR_OVERFLOW, "negative");
    refused(t, nb_tensor(t, NULL, NB_SHAPE(big, big), NULL), NB_ERR_OVERFLOW, "overflow");
    refused(t, nb_zeros(t, (nb_shape){-1, {0}}), NB_ERR_SHAPE, "dimensions");
    refused(t, nb_zeros(t, (nb_shape){9, {0}}), NB_ERR_SHAPE, "dimensions");
    refused(t, nb_zeros(t, (nb_shape){INT32_MIN, {0}}), NB_ERR_SHAPE, "dimensions");
    refused(t, nb_eye(t, big, big), NB_ERR_OVERFLOW, "overflow");
    refused(t, nb_eye(t, -1, 2), NB_ERR_OVERFLOW, "negative");
    refused(t, nb_zeros(t, NB_SHAPE(INT64_MAX / 16)), NB_ERR_MEMORY, "memory");
    refused(t, nb_linspace(t, 0, 1, -1), NB_ERR_OVERFLOW, "negative");
    const double bad[][3] = {{0, 1, 0},          {0, 1, (double)NAN}, {(double)NAN, 1, 1},
                             {0, HUGE_VAL, 1},   {0, 1, HUGE_VAL},    {0, 1, 1e-300},
                             {0, (double)NAN, 1}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        refused(t, nb_arange(t, bad[i][0], bad[i][1], bad[i][2]), NB_ERR_ARGUMENT, "arange");
    nb_var row = nb_zeros(t, NB_SHAPE(big, 0)), v = nb_ones(t, NB_SHAPE(3));
    ck_assert_int_eq(nb_size(row), 0);
    refused(t, nb_mul(nb_zeros(t, NB_SHAPE(1 << 20, 0)), nb_ones(t, NB_SHAPE(2, 2))), NB_ERR_SHAPE,
            "broadcast");
    refused(t, nb_expand(nb_ones(t, NB_POINT), NB_SHAPE(big, big)), NB_ERR_OVERFLOW, "overflow");
    refused(t, nb_at_index(v, 1, (int64_t[]){3}), NB_ERR_INDEX, "");
    refused(t, nb_sum_over(v, NB_AXES(1), false), NB_ERR_AXIS, "axis");
    refused(t, nb_mean(nb_zeros(t, NB_SHAPE(0))), NB_ERR_EMPTY, "");
    nb_backward(v);
    is(t, NB_ERR_SEED, "node");
    ck_assert_double_eq(nb_value(nb_sum(v)), 3);
    ck_assert_int_eq(nb_status(t), NB_OK);
    nb_tape_free(t);
}
END_TEST

/* A cap is an error with a message of its own, and the tape goes on once something was forgotten.
 */
START_TEST(memory_cap)
{
    nb_tape *t = nb_tape_new(&(nb_options){.max_bytes = 1 << 20});
    nb_var x = nb_input(t, "x", 2);
    nb_mark m = nb_tape_mark(t);
    for (int round = 0; round < 3; round++) {
        nb_var s = x, last = x;
        size_t n = 0;
        for (; nb_ok(s); n++)
            last = s, s = nb_mul(s, 1.0);
        ck_assert_uint_gt(n, (1 << 20) / 25 / 3);
        ck_assert(nb_tape_bytes(t) <= 1 << 20);
        ck_assert_double_eq(nb_value(last), 2);
        is(t, NB_ERR_LIMIT, "cap of 1048576 bytes");
        refused(t, nb_zeros(t, NB_SHAPE(1 << 20)), NB_ERR_LIMIT, "cap");
        ck_assert_int_eq(nb_backward(last), NB_OK);
        ck_assert_double_eq(nb_grad(x), 1);
        ck_assert_int_eq(nb_rewind(m), NB_OK);
        ck_assert_double_eq(nb_value(nb_add(x, x)), 4);
    }
    nb_tape_free(t);
}
END_TEST

/* ---- anomaly mode ---------------------------------------------------------------------------- */

START_TEST(anomaly_forward)
{
    nb_tape *t = nb_tape_new(&(nb_options){.anomaly = true});
    nb_var x = nb_input(t, "depth", 0), y = nb_name(nb_log(x), "late");
    ck_assert(nb_ok(y) && isinf(nb_value(y)));
    ck_assert_str_eq(nb_message(t), "log: the value is not finite\n"
                                    "    =             scalar       node 1, from log\n"
                                    "    a  \"depth\"    scalar       node 0, input, value 0");
    nb_clear(t);
    nb_var v = nb_tensor(t, "v", NB_SHAPE(3), (double[]){1, 0, 2});
    nb_div(1, v);
    is(t, NB_ERR_ANOMALY, "\"v\"");
    nb_tensor(t, "bad", NB_SHAPE(1), (double[]){(double)NAN});
    is(t, NB_ERR_ANOMALY, "input");
    nb_input(t, "bad", HUGE_VAL);
    is(t, NB_ERR_ANOMALY, "input");
    nb_mul(x, HUGE_VAL);
    is(t, NB_ERR_ANOMALY, "");
    nb_sum_of(2, (nb_var[]){nb_constant(t, 1e308), nb_constant(t, 1e308)});
    is(t, NB_ERR_ANOMALY, "");
    nb_sum(nb_mul(v, 1e308));
    is(t, NB_ERR_ANOMALY, "");
    nb_set_anomaly(t, false);
    nb_div(1, v);
    ck_assert_int_eq(nb_status(t), NB_OK);
    nb_tape_free(t);
}
END_TEST

START_TEST(anomaly_backward)
{
    nb_tape *t = nb_tape_new(&(nb_options){.anomaly = true});
    nb_var x = nb_input(t, "zero", 0), y = nb_input(t, "tiny", 1e-200),
           v = nb_leaf("v", nb_zeros(t, NB_SHAPE(2)));
    nb_var f = nb_where(nb_gt(x, 0), nb_sqrt(x), 0);
    ck_assert_int_eq(nb_backward(f), NB_ERR_ANOMALY); /* the slope, though the gradient is 0 */
    ck_assert_double_eq(nb_grad(x), 0);
    is(t, NB_ERR_ANOMALY, "sqrt: the local derivative is not finite");
    nb_sqrt(x); /* not on the way */
    ck_assert_int_eq(nb_backward(nb_mul(x, 2)), NB_OK);
    nb_var g =
        nb_mul(nb_mul(nb_recip(nb_mul(y, 1e50)), 1e100), 1e-200); /* slopes finite, product not */
    ck_assert_int_eq(nb_status(t), NB_OK);
    ck_assert_int_eq(nb_backward(g), NB_OK);
    nb_var h = nb_mul(nb_mul(nb_mul(x, 1e300), 1e-200), 1e-100), big = nb_mul(x, 1e200);
    ck_assert_int_eq(nb_backward(h), NB_OK);
    ck_assert_int_eq(nb_backward(nb_mul(big, 1e200)), NB_ERR_ANOMALY);
    is(t, NB_ERR_ANOMALY, "input: the gradient is not finite");
    ck_assert_int_eq(nb_backward(nb_sum(nb_sqrt(v))), NB_ERR_ANOMALY);
    is(t, NB_ERR_ANOMALY, "sqrt: a gradient that it passes on is not finite");
    ck_assert_int_eq(nb_backward(nb_sum(nb_exp(v))), NB_OK);
    nb_tape_free(t);
}
END_TEST

/* What is no var at all is not passed on in silence; an operation that failed before is. */
START_TEST(no_var_where_one_is_due)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_var x = nb_input(t, "x", 1), v = nb_zeros(t, NB_SHAPE(3)), w = nb_zeros(t, NB_SHAPE(3, 2));
    ck_assert(!nb_ok(nb_dense(v, w, NB_NONE, nb_relu)));
    is(t, NB_ERR_HANDLE, "dense: operand c is no var (NB_NONE)");
    ck_assert(!nb_ok(nb_atan2(NB_NONE, x)));
    is(t, NB_ERR_HANDLE, "atan2: operand a is no var (NB_NONE)");
    ck_assert(!nb_ok(nb_add(x, NB_NONE)));
    is(t, NB_ERR_HANDLE, "add: operand b is no var (NB_NONE)");
    nb_var failed = nb_reshape(v, NB_SHAPE(4));
    nb_clear(t);
    ck_assert(!nb_ok(nb_mul(failed, v)));
    ck_assert(!nb_ok(nb_sin(NB_NONE)));
    ck_assert_int_eq(nb_status(t), NB_OK);
    nb_tape_free(t);
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("errors");
    tcase_add_test(c, message_of_the_design);
    tcase_add_test(c, messages_name_operands);
    tcase_add_test(c, null_everywhere);
    tcase_add_test(c, sizes_and_ranges);
    tcase_add_test(c, memory_cap);
    tcase_add_test(c, anomaly_forward);
    tcase_add_test(c, anomaly_backward);
    tcase_add_test(c, no_var_where_one_is_due);
    return run_case("errors", c);
}
