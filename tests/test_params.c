/*
 * Parameters: what lies where, the table, sharing, freezing, passes on tapes that come and go, what is
 * refused, and memory that runs out.
 */
#include "counting.h"
#include "error_is.h"

#include <stdio.h>

enum { DTYPES = 2 };

static nb_params *params_of(int d)
{
    nb_params *p = nb_params_new(&(nb_params_options){.dtype = (nb_dtype)d});
    ck_assert_ptr_nonnull(p);
    return p;
}

static nb_tape *tape_of(int d)
{
    nb_tape *t = nb_tape_new(&(nb_options){.dtype = (nb_dtype)d});
    ck_assert_ptr_nonnull(t);
    return t;
}

static void params_are(nb_params *p, nb_code code, const char *part)
{
    ck_assert_msg(nb_params_status(p) == code, "have: %s", nb_params_message(p));
    ck_assert_msg(strstr(nb_params_message(p), part) != NULL, "no \"%s\" in: %s", part,
                  nb_params_message(p));
    nb_params_clear(p);
}

static double element(const void *data, int d, int64_t i)
{
    return d == NB_F64 ? ((const double *)data)[i] : (double)((const float *)data)[i];
}

static nb_param constant(nb_params *p, const char *name, nb_shape shape, double value)
{
    return nb_params_add(p, name, shape, &(nb_param_options){.init = {NB_INIT_CONSTANT, value, 0}},
                         NULL);
}

/* ---- layout ---------------------------------------------------------------------------------- */

START_TEST(side_by_side)
{
    nb_params *p = params_of(_i);
    const nb_param a = constant(p, "a", NB_SHAPE(2, 3), 1), b = constant(p, "b", NB_POINT, 2);
    nb_params_group(p, "head");
    const nb_param c = constant(p, "c", NB_SHAPE(4), 3);
    ck_assert(a == 0 && b == 1 && c == 2 && nb_params_size(p) == 11 && nb_params_count(p) == 3);
    const void *v = nb_params_values(p), *g = nb_params_grads(p);
    for (int i = 0; i < 11; i++)
        ck_assert(element(v, _i, i) == (i < 6 ? 1 : i < 7 ? 2 : 3) && element(g, _i, i) == 0);
    const nb_param_info info = nb_params_info(p, c);
    ck_assert(info.offset == 7 && info.size == 4 && info.group_index == 1 && !info.frozen);
    ck_assert_str_eq(info.group, "head");
    ck_assert_int_eq(nb_params_find(p, "b"), b);
    ck_assert_int_eq(nb_params_find(p, "d"), NB_NO_PARAM);
    ck_assert_str_eq(nb_params_info(p, 3).name, "");
    double three[4], in[4] = {5, 6, 7, 8};
    nb_params_write(p, c, in, 4);
    nb_params_read(p, c, three, 4);
    ck_assert_mem_eq(three, in, sizeof in);
    char *state = nb_params_state(p, 3);
    const size_t bytes = 33 * (_i ? sizeof(float) : sizeof(double));
    for (size_t i = 0; i < bytes; i++)
        ck_assert_int_eq(state[i], 0);
    memset(state, 1, bytes);
    ck_assert_ptr_eq(nb_params_state(p, 3), state);
    ck_assert_int_eq(state[bytes - 1], 1);
    ck_assert_int_eq(((char *)nb_params_state(p, 2))[0], 0);
    nb_params_free(p);
}
END_TEST

START_TEST(table)
{
    char text[800] = "";
    nb_params *p = params_of(0);
    constant(p, "hidden.w", NB_SHAPE(64, 10), 0);
    nb_params_group(p, "biases");
    nb_params_freeze(p, constant(p, "hidden.b", NB_SHAPE(10), 0), true);
    FILE *f = tmpfile();
    ck_assert_ptr_nonnull(f);
    ck_assert_int_eq(nb_params_print(f, p), NB_OK);
    rewind(f);
    text[fread(text, 1, sizeof text - 1, f)] = 0;
    fclose(f);
    ck_assert_str_eq(text, "parameter  group   shape          size\n"
                           "hidden.w           [64 10]         640\n"
                           "hidden.b   biases  [10]             10  frozen\n"
                           "sum                                650  10 frozen\n");
    ck_assert_int_eq(nb_params_print(NULL, p), NB_ERR_ARGUMENT);
    nb_params_free(p);
}
END_TEST

/* ---- passes ---------------------------------------------------------------------------------- */

/* f = sum(w x) + sum(w^2): the gradient is x + 2 w */
START_TEST(shared_parameters_add)
{
    nb_params *p = params_of(_i);
    const nb_param w = constant(p, "w", NB_SHAPE(3), 2);
    nb_tape *t = tape_of(_i);
    nb_var x = nb_constant_tensor(t, NB_SHAPE(3), (double[]){1, -1, 4});
    nb_pass m = nb_training_pass(p, t, NULL);
    nb_var v = nb_pass_var(&m, w);
    ck_assert_int_eq(nb_backward(nb_add(nb_sum(nb_mul(v, x)), nb_sum(nb_square(v)))), NB_OK);
    double g[3];
    nb_params_read_grad(p, w, g, 3);
    ck_assert(g[0] == 5 && g[1] == 3 && g[2] == 8);
    nb_tape_free(t);
    nb_params_free(p);
}
END_TEST

/* A second pass on the same recording has the same vars, so gradients of both add up. */
START_TEST(two_passes_on_one_recording)
{
    nb_params *p = params_of(_i);
    const nb_param w = constant(p, "w", NB_POINT, 3);
    nb_tape *t = tape_of(_i);
    nb_pass m = nb_training_pass(p, t, NULL), again = nb_training_pass(p, t, NULL);
    nb_pass still = nb_evaluation_pass(p, t);
    nb_var f = nb_mul(nb_pass_var(&m, w), nb_pass_var(&again, w));
    f = nb_mul(f, nb_pass_var(&still, w));
    ck_assert_int_eq(nb_backward(nb_sum(f)), NB_OK);
    double g;
    nb_params_read_grad(p, w, &g, 1);
    ck_assert_double_eq(g, 18); /* w^2 times a constant 3 */
    nb_tape_free(t);
    nb_params_free(p);
}
END_TEST

START_TEST(frozen_stay)
{
    nb_params *p = params_of(_i);
    const nb_param a = constant(p, "a", NB_POINT, 3);
    nb_params_group(p, "g");
    const nb_param b = constant(p, "b", NB_POINT, 4);
    nb_tape *t = tape_of(_i);
    nb_mark start = nb_tape_mark(t);
    for (int round = 0; round < 3; round++) {
        ck_assert_int_eq(nb_params_freeze_group(p, "g", round == 1), NB_OK);
        nb_pass m = nb_training_pass(p, t, NULL);
        double ga, gb;
        ck_assert_int_eq(nb_inspect(nb_pass_var(&m, b)).constant, round == 1);
        nb_backward(nb_sum(nb_mul(nb_pass_var(&m, a), nb_pass_var(&m, b))));
        nb_params_read_grad(p, a, &ga, 1);
        nb_params_read_grad(p, b, &gb, 1);
        ck_assert(ga == 4 && gb == (round == 1 ? 0 : 3));
        nb_rewind(start);
    }
    ck_assert_int_eq(nb_status(t), NB_OK);
    nb_tape_free(t);
    nb_params_free(p);
}
END_TEST

/* Tapes that are made anew, often in the place of the one before, with other things in front. */
START_TEST(tapes_come_and_go)
{
    nb_params *p = params_of(_i);
    const nb_param w = constant(p, "w", NB_SHAPE(2), 3);
    for (int k = 0; k < 5; k++) {
        nb_tape *t = tape_of(_i);
        nb_var x = NB_NONE;
        for (int i = 0; i <= k;
             i++) /* where the last tape had the parameter is now another tensor */
            x = nb_tensor(t, "x", NB_SHAPE(2), (double[]){k, 1});
        nb_pass m = nb_training_pass(p, t, NULL);
        double g[2];
        ck_assert_int_eq(nb_backward(nb_sum(nb_mul(x, nb_pass_var(&m, w)))), NB_OK);
        nb_params_read_grad(p, w, g, 2);
        ck_assert(g[0] == k && g[1] == 1);
        nb_tape_free(t);
    }
    nb_params_free(p);
}
END_TEST

START_TEST(threads_of_the_caller)
{
    nb_params *p = params_of(_i);
    const nb_param w = constant(p, "w", NB_SHAPE(2), 3);
    ck_assert_ptr_nonnull(nb_params_grads(p));
    double grads[2][2] = {{9, 9}, {9, 9}};
    nb_tape *t[2];
    nb_var var[2][1];
    for (int k = 0; k < 2; k++) {
        t[k] = tape_of(_i);
        var[k][0] = NB_NONE;
        const nb_pass_spec spec = {.var = var[k], .grads = grads[k], .training = true};
        nb_pass m = nb_pass_with(p, t[k], &spec);
        ck_assert(m.count == 1 && m.training && m.hold);
        ck_assert_int_eq(nb_backward(nb_sum(nb_mul(k + 1, nb_pass_var(&m, w)))), NB_OK);
    }
    ck_assert(element(grads[0], _i, 1) == 1 && element(grads[1], _i, 1) == 2);
    nb_tape_free(t[0]), nb_tape_free(t[1]);
    nb_params_free(p);
}
END_TEST

START_TEST(max_norm)
{
    const double w[] = {3, 0.1, 4, 0.2}; /* columns of lengths 5 and 0.22; rows 3.0, 4.0 */
    double got[4];
    nb_params *p = params_of(_i);
    nb_param i = constant(p, "w", NB_SHAPE(2, 2), 0), one = constant(p, "v", NB_SHAPE(2), 1e-30);
    nb_params_write(p, i, w, 4);
    ck_assert_int_eq(nb_params_max_norm(p, i, -1, 2), NB_OK);
    nb_params_read(p, i, got, 4);
    const double want[] = {1.2, 0.1, 1.6, 0.2};
    for (int k = 0; k < 4; k++)
        ck_assert(fabs(got[k] - want[k]) < 1e-7);
    nb_params_write(p, i, w, 4);
    nb_params_max_norm(p, i, 0, 1);
    nb_params_read(p, i, got, 4);
    for (int k = 0; k < 4; k += 2)
        ck_assert(fabs(hypot(got[k], got[k + 1]) - 1) < 1e-6 && got[k] > got[k + 1]);
    const double large[] = {3e38, -3e38};
    nb_params_write(p, one, large, 2);
    nb_params_max_norm(p, one, 0, 1e38); /* each place is a unit of one weight */
    nb_params_read(p, one, got, 2);
    ck_assert(fabs(got[0] / 1e38 - 1) < 1e-6 && fabs(got[1] / 1e38 + 1) < 1e-6);
    nb_params_max_norm(p, i, 2, 1);
    params_are(p, NB_ERR_AXIS, "\"w\" [2 2] has no axis 2");
    nb_params_max_norm(p, i, 0, 0);
    params_are(p, NB_ERR_ARGUMENT, "the limit is 0");
    nb_params_free(p);
}
END_TEST

/* ---- refusals -------------------------------------------------------------------------------- */

START_TEST(what_is_refused)
{
    nb_params *p = params_of(0);
    nb_rng r = nb_rng_seed(1);
    constant(p, "w", NB_SHAPE(2, 3), 0);
    constant(p, "w", NB_SHAPE(2, 4), 0);
    ck_assert_ptr_nonnull(strstr(nb_params_message(p), "[2 4]"));
    params_are(p, NB_ERR_ARGUMENT, "[2 3]");
    ck_assert_int_eq(constant(p, "v", NB_SHAPE(2, 0), 0), NB_NO_PARAM);
    params_are(p, NB_ERR_SHAPE, "\"v\" has the shape [2 0]");
    constant(p, "v", NB_SHAPE(INT64_MAX, 4), 0);
    params_are(p, NB_ERR_SHAPE, "\"v\"");
    constant(p, "v", NB_SHAPE(INT64_MAX / 4), 0);
    params_are(p, NB_ERR_OVERFLOW, "overflows");
    constant(p, "", NB_SHAPE(2), 0);
    params_are(p, NB_ERR_ARGUMENT, "needs a name");
    nb_params_add(p, "v", NB_SHAPE(2), &(nb_param_options){.init = {NB_INIT_NORMAL, 0, 0}}, NULL);
    params_are(p, NB_ERR_ARGUMENT, "normal needs a random number generator");
    nb_params_add(p, "v", NB_SHAPE(2), &(nb_param_options){.init = {(nb_init_rule)99, 0, 0}}, &r);
    params_are(p, NB_ERR_ARGUMENT, "99 is no rule");
    nb_params_add(p, "v", NB_SHAPE(2, 5), &(nb_param_options){.parts = 2}, &r);
    params_are(p, NB_ERR_ARGUMENT, "[2 5] has no 2 equal parts");
    nb_params_freeze(p, 7, true);
    params_are(p, NB_ERR_INDEX, "no parameter 7 among 1");
    nb_params_freeze_group(p, "nobody", true);
    params_are(p, NB_ERR_ARGUMENT, "\"nobody\"");
    nb_params_read(p, 0, (double[]){0}, 1);
    params_are(p, NB_ERR_SHAPE, "\"w\" [2 3] has 6 elements, the array 1");
    ck_assert_int_eq(nb_params_count(p), 1);

    nb_tape *t = tape_of(1);
    nb_training_pass(p, t, NULL);
    is(t, NB_ERR_ARGUMENT, "the parameters are double, the tape's tensors float");
    nb_tape_free(t);
    constant(p, "late", NB_SHAPE(2), 0);
    params_are(p, NB_ERR_ARGUMENT, "\"late\" [2] comes too late");
    t = tape_of(0);
    nb_mark start = nb_tape_mark(t);
    nb_pass m = nb_training_pass(p, t, NULL);
    nb_pass_var(&m, 4);
    is(t, NB_ERR_INDEX, "number 4, of 1");
    nb_rewind(start);
    ck_assert(!nb_ok(nb_pass_var(&m, 0)));
    is(t, NB_ERR_HANDLE, "parameter \"w\" is no longer on the tape");
    nb_params_freeze(p, 9, true);
    m = nb_training_pass(p, t, NULL);
    ck_assert(m.count == 0 && !nb_ok(nb_pass_var(&m, 0)));
    is(t, NB_ERR_INDEX, "no parameter 9");
    nb_tape_free(t);
    nb_params_free(p);
}
END_TEST

/* Refuses the k-th request, for every k, until there is no such request: nothing leaks, and nothing
 * half made is left behind. (Some requests, of a matrix product, can be done without.) */
START_TEST(memory_runs_out)
{
    for (size_t k = 1;; k++) {
        counting c = {.refuse = k};
        nb_rng r = nb_rng_seed(1);
        nb_params *p = nb_params_new(&(nb_params_options){.allocator = counting_allocator(&c)});
        nb_params_group(p, "a");
        for (int i = 0; p && i < 10; i++) {
            const char name[] = {(char)('a' + i), 0};
            const nb_init_rule rule = i ? NB_INIT_NORMAL : NB_INIT_ORTHOGONAL;
            nb_params_add(p, name, NB_SHAPE(4, 5), &(nb_param_options){.init = {rule, 0, 0}}, &r);
        }
        nb_params_add_statistic(p, "mean", 3, 0);
        nb_params_state(p, 2);
        const nb_code code = p ? nb_params_status(p) : NB_ERR_MEMORY;
        const int count = nb_params_count(p);
        ck_assert(code == NB_ERR_MEMORY ? c.refusals > 0 : code == NB_OK && count == 10);
        ck_assert(nb_params_size(p) == 20 * count);
        nb_params_free(p);
        ck_assert_uint_eq(c.blocks, 0);
        if (!c.refusals)
            break;
    }
}
END_TEST

/* A step after the first asks for no memory. */
START_TEST(steps_ask_for_nothing)
{
    counting c = {0};
    nb_params *p = nb_params_new(&(nb_params_options){.allocator = counting_allocator(&c)});
    const nb_param w = constant(p, "w", NB_SHAPE(8), 1);
    nb_tape *t = nb_tape_new(&(nb_options){.allocator = counting_allocator(&c)});
    nb_mark start = nb_tape_mark(t);
    size_t calls = 0;
    for (int step = 0; step < 4; step++) {
        nb_pass m = nb_training_pass(p, t, NULL);
        nb_backward(nb_sum(nb_square(nb_pass_var(&m, w))));
        nb_rewind(start);
        ck_assert(step == 0 || c.calls == calls);
        calls = c.calls;
    }
    nb_tape_free(t);
    nb_params_free(p);
    ck_assert_uint_eq(c.blocks, 0);
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("params");
    tcase_add_loop_test(c, side_by_side, 0, DTYPES);
    tcase_add_test(c, table);
    tcase_add_loop_test(c, shared_parameters_add, 0, DTYPES);
    tcase_add_loop_test(c, two_passes_on_one_recording, 0, DTYPES);
    tcase_add_loop_test(c, frozen_stay, 0, DTYPES);
    tcase_add_loop_test(c, tapes_come_and_go, 0, DTYPES);
    tcase_add_loop_test(c, threads_of_the_caller, 0, DTYPES);
    tcase_add_loop_test(c, max_norm, 0, DTYPES);
    tcase_add_test(c, what_is_refused);
    tcase_add_test(c, memory_runs_out);
    tcase_add_test(c, steps_ask_for_nothing);
    return run_case("params", c);
}
