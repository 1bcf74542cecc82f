/*
 * With NB_LOCATE defined where the client's code is compiled, a message begins with the file and
 * line of the call that failed; without a failure nothing changes.
 */
#define NB_LOCATE
#include <nabla.h>

#include "run.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static void located(nb_tape *t, const char *file, int line, const char *rest)
{
    char head[400];
    snprintf(head, sizeof head, "%s:%d: %s", file, line, rest);
    ck_assert_msg(!strncmp(nb_message(t), head, strlen(head)), "not at %s: %s", head,
                  nb_message(t));
    nb_clear(t);
}

START_TEST(place_of_the_failing_call)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_var x = nb_input(t, "x", 2), v = nb_zeros(t, NB_SHAPE(3)), w = nb_zeros(t, NB_SHAPE(4));
    nb_var fine = nb_mul(nb_add(x, 1), nb_sub(1, x));
    ck_assert_double_eq(nb_value(fine), -3);
    const int before = __LINE__;
    nb_var bad = nb_mul(v, w);
    nb_var later = nb_add(bad, 1);
    ck_assert(!nb_ok(bad) && !nb_ok(later));
    located(t, __FILE__, before + 1, "mul: the shapes do not broadcast");
    nb_reshape(v, NB_SHAPE(2, 2));
    located(t, __FILE__, __LINE__ - 1, "reshape: ");
    nb_sum_over(w, NB_AXES(5), false);
    located(t, __FILE__, __LINE__ - 1, "sum");
    nb_layer_norm(w, 2, NB_NONE, NB_NONE, 0);
    located(t, __FILE__, __LINE__ - 1, "layer_norm: ");
    nb_attention(w, w, v, &(nb_attention_options){.causal = true, .scale = 2});
    located(t, __FILE__, __LINE__ - 1, "attention: ");
    nb_lstm(v, w, w, w, NB_NONE, NB_NONE);
    located(t, __FILE__, __LINE__ - 1, "lstm: ");
    nb_conv2d(w, w, NB_NONE, NULL);
    located(t, __FILE__, __LINE__ - 1, "conv: ");
    nb_backward(fine);
    ck_assert_double_eq(nb_grad(x), -4);
    ck_assert_int_eq(nb_status(t), NB_OK);
    nb_tape_free(t);
}
END_TEST

START_TEST(place_of_an_anomaly)
{
    nb_tape *t = nb_tape_new(&(nb_options){.anomaly = true});
    nb_var x = nb_input(t, "x", 0);
    nb_exp(x);
    nb_var y = nb_log(x);
    located(t, __FILE__, __LINE__ - 1, "log: the value is not finite");
    ck_assert(isinf(nb_value(y)));
    nb_var z = nb_located(x, "elsewhere.c", 7);
    (nb_log)(z);
    located(t, "elsewhere.c", 7, "log: ");
    nb_tape_free(t);
}
END_TEST

/* Networks', images' and matrices' operations tell their place and take numbers, as all others do. */
START_TEST(place_in_every_header)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_rng r = nb_rng_seed(1);
    nb_var x = nb_ones(t, NB_SHAPE(2, 3)), w = nb_ones(t, NB_SHAPE(4));
    nb_layer_norm(x, 1, w, NB_NONE, 1e-5);
    located(t, __FILE__, __LINE__ - 1, "layer_norm: ");
    nb_rms_norm(x, 3, NB_NONE, NB_NONE, 1e-5);
    located(t, __FILE__, __LINE__ - 1, "rms_norm: ");
    nb_group_norm(x, 2, NB_NONE, NB_NONE, 1e-5);
    located(t, __FILE__, __LINE__ - 1, "group_norm: ");
    nb_batch_norm(w, NB_NONE, NB_NONE, 1e-5, NULL, true);
    located(t, __FILE__, __LINE__ - 1, "batch_norm: ");
    nb_dropout(x, 2, &r);
    located(t, __FILE__, __LINE__ - 1, "dropout: ");
    nb_attention(x, w, x, NULL);
    located(t, __FILE__, __LINE__ - 1, "attention: ");
    nb_lstm(x, w, w, w, NB_NONE, NB_NONE);
    located(t, __FILE__, __LINE__ - 1, "lstm: ");
    nb_conv1d(x, 2, NB_NONE, &(nb_conv_options){.padding = {1, 1}});
    located(t, __FILE__, __LINE__ - 1, "conv: ");
    nb_solve(x, 1);
    located(t, __FILE__, __LINE__ - 1, "solve: ");
    nb_concat(2, (nb_var[]){x, w}, 0);
    located(t, __FILE__, __LINE__ - 1, "concat: ");
    nb_stack(2, (nb_var[]){x, w}, 0);
    located(t, __FILE__, __LINE__ - 1, "stack: ");
    nb_sum_of(2, (nb_var[]){nb_input(t, NULL, 1), w});
    located(t, __FILE__, __LINE__ - 1, "sum_of: ");
    nb_einsum("ij,j->i", x, w);
    located(t, __FILE__, __LINE__ - 1, "einsum: ");
    nb_at(x, 0, 3);
    located(t, __FILE__, __LINE__ - 1, "at: ");
    nb_tape_free(t);
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("located");
    tcase_add_test(c, place_of_the_failing_call);
    tcase_add_test(c, place_of_an_anomaly);
    tcase_add_test(c, place_in_every_header);
    return run_case("located", c);
}
