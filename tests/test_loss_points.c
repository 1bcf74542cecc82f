/*
 * Losses at hard points, one by one: infinite logits, probabilities of 0 and 1, tails, what is left out,
 * vectors of zeros; what stands for what is not said; and what is refused.
 */
#include "error_is.h"

static const double inf = (double)INFINITY;

/* ---- hard points ----------------------------------------------------------------------------- */

typedef nb_var pair_loss(nb_var, nb_var, const nb_loss_options *);

/* A loss of two numbers, its value and its slope by the first. */
static void point(pair_loss *f, double x, double target, double value, double slope_due, double tol)
{
    for (int type = 0; type < 2; type++) {
        nb_tape *t = nb_tape_new(&(nb_options){.dtype = (nb_dtype)type});
        nb_var a = nb_tensor(t, "x", NB_SHAPE(1), &x);
        nb_var y = f(a, nb_num(target), NULL);
        const double is = nb_value(y), eps = type ? 1e-6 : tol;
        ck_assert_msg(is == value || fabs(is - value) <= eps * fabs(value),
                      "(%g, %g): %.17g, not %.17g", x, target, is, value);
        ck_assert_int_eq(nb_backward(y), NB_OK);
        const double g = nb_grad(a);
        ck_assert_msg(g == slope_due || fabs(g - slope_due) <= eps * fabs(slope_due),
                      "(%g, %g): slope %.17g, not %.17g", x, target, g, slope_due);
        nb_tape_free(t);
    }
}

START_TEST(hard_points)
{
    pair_loss *const logit = nb_logistic_loss, *const bce_ = nb_binary_cross_entropy;
    point(logit, inf, 1, 0, 0, 0);
    point(logit, -inf, 0, 0, 0, 0);
    point(logit, -inf, 1, inf, -1, 0);
    point(logit, 1000, 0, 1000, 1, 0);
    point(bce_, 0, 1, inf, -inf, 0);
    point(bce_, 1, 0, inf, inf, 0);
    point(bce_, 0, 0, 0, 1, 0);
    point(bce_, 1, 1, 0, -1, 0);
    point(nb_huber, inf, 0, inf, 1, 0);
    point(nb_huber, -1, 0, 0.5, -1, 0);
    point(nb_absolute_error, 2, 2, 0, 0, 0);
    point(nb_poisson_loss, -inf, 0, 0, 0, 0);
    point(nb_hinge, 1, 1, 0, 0, 0);
    point(nb_perceptron_loss, 0, 1, 0, -1, 0); /* weights of 0 learn */
    point(nb_perceptron_loss, inf, 1, 0, 0, 0);
    point(nb_perceptron_loss, -3, 1, 3, -1, 0);
    point(nb_perceptron_loss, 3, 0, 3, 1, 0);
}
END_TEST

/* In double only: e^-100 = 3.72e-44 is below the floats' normal numbers. */
START_TEST(logistic_tails)
{
    nb_tape *t = nb_tape_new(NULL);
    for (int sign = -1; sign <= 1; sign += 2) {
        nb_var x = nb_input(t, "x", sign * 100.0);
        nb_var y = nb_logistic_loss(x, sign > 0, NULL);
        nb_backward(y);
        ck_assert(fabs(nb_value(y) / 3.720075976020836e-44 - 1) < 1e-15);
        ck_assert(fabs(nb_grad(x) * sign / -3.720075976020836e-44 - 1) < 1e-15);
    }
    nb_tape_free(t);
}
END_TEST

START_TEST(infinite_logits)
{
    const double z[] = {-inf, 0, 0}, p[] = {0, 0.5, 0.5};
    double g[3];
    nb_tape *t = nb_tape_new(&(nb_options){.dtype = (nb_dtype)_i});
    nb_var x = nb_tensor(t, "z", NB_SHAPE(3), z);
    nb_var hard = nb_cross_entropy(x, 1, (int64_t[]){0}, NULL);
    ck_assert_double_eq(nb_value(hard), inf);
    nb_backward(hard);
    nb_read_grad(x, g, 3);
    ck_assert(g[0] == -1 && g[1] == 0.5 && g[2] == 0.5); /* q - p */
    nb_var q = nb_constant_tensor(t, NB_SHAPE(3), p);
    nb_var easy = nb_soft_cross_entropy(x, q, NULL);
    ck_assert(fabs(nb_value(easy) - 0.6931471805599453) < 1e-6);
    nb_backward(easy);
    nb_read_grad(x, g, 3);
    ck_assert(g[0] == 0 && fabs(g[1]) < 1e-7 && fabs(g[2]) < 1e-7);
    nb_var kl = nb_kl_divergence(nb_log_softmax(x, -1), q, NULL);
    ck_assert(fabs(nb_value(kl)) < 1e-6);
    nb_backward(kl);
    nb_read_grad(x, g, 3);
    ck_assert(g[0] == 0 && fabs(g[1]) < 1e-7);
    ck_assert_str_eq(nb_message(t), "");
    nb_tape_free(t);
}
END_TEST

/* What is left out might as well be NaN. */
START_TEST(left_out)
{
    const double x[] = {(double)NAN, 3, inf, 1}, w[] = {0, 1, 0, 1};
    double g[4];
    nb_tape *t = nb_tape_new(&(nb_options){.dtype = (nb_dtype)_i});
    for (int k = 0; k < 2; k++) {
        nb_var v = nb_tensor(t, "x", NB_SHAPE(4), x), keep = nb_constant_tensor(t, NB_SHAPE(4), w);
        nb_loss_options o = {.reduction = NB_REDUCE_MEAN};
        *(k ? &o.mask : &o.weight) = keep;
        nb_var f = nb_squared_error(v, 0, &o);
        ck_assert_double_eq(nb_value(f), 5);
        nb_backward(f);
        nb_read_grad(v, g, 4);
        ck_assert(g[0] == 0 && g[1] == 3 && g[2] == 0 && g[3] == 1);
    }
    const double z[] = {(double)NAN, 0, 0, 0, 0, 0};
    nb_var v = nb_tensor(t, "z", NB_SHAPE(3, 2), z);
    const int64_t label[] = {-1, 0, -100};
    nb_var f = nb_cross_entropy(v, 3, label, &(nb_loss_options){.ignore_negative = true});
    ck_assert(fabs(nb_value(f) - 0.6931471805599453) < 1e-6);
    nb_backward(f);
    double gz[6];
    nb_read_grad(v, gz, 6);
    ck_assert(gz[0] == 0 && gz[2] == -0.5 && gz[3] == 0.5 && gz[5] == 0);
    nb_tape_free(t);
}
END_TEST

START_TEST(zero_vectors)
{
    const double x[] = {0, 0, 1e200, 1e200}, y[] = {1, 2, 1, 1};
    double g[4];
    nb_tape *t = nb_tape_new(NULL);
    nb_var a = nb_tensor(t, "x", NB_SHAPE(2, 2), x), b = nb_constant_tensor(t, NB_SHAPE(2, 2), y);
    nb_var f = nb_cosine_loss(a, b, &(nb_loss_options){.reduction = NB_REDUCE_SUM});
    ck_assert(fabs(nb_value(f) - 1) < 1e-15);
    nb_backward(f);
    nb_read_grad(a, g, 4);
    ck_assert(g[0] == 0 && g[1] == 0 && fabs(g[2]) < 1e-200);
    nb_var c = nb_tensor(t, "c", NB_SHAPE(1, 2), (double[]){0.3, 0.4});
    f = nb_triplet_loss(c, c, nb_zeros(t, NB_SHAPE(1, 2)), NULL); /* |c - c| has slope 0 */
    ck_assert(fabs(nb_value(f) - 0.5) < 1e-15);
    nb_backward(f);
    nb_read_grad(c, g, 2);
    ck_assert(fabs(g[0] + 0.6) < 1e-15 && fabs(g[1] + 0.8) < 1e-15);
    ck_assert_str_eq(nb_message(t), "");
    nb_tape_free(t);
}
END_TEST

/* The usual reductions, and targets that are numbers. */
START_TEST(defaults)
{
    const double x[] = {1, 3};
    nb_tape *t = nb_tape_new(NULL);
    nb_var v = nb_tensor(t, "x", NB_SHAPE(2), x), s = nb_input(t, "s", 2);
    ck_assert_double_eq(nb_value(nb_squared_error(v, 0, NULL)), 5);
    ck_assert_double_eq(nb_value(nb_quadratic_cost(v, 0, NULL)), 5);
    ck_assert_double_eq(
        nb_value(nb_quadratic_cost(v, 0, &(nb_loss_options){.reduction = NB_REDUCE_MEAN})), 2.5);
    ck_assert_double_eq(nb_value(nb_squared_error(v, s, NULL)), 1);
    ck_assert_double_eq(nb_value(nb_squared_error(s, 5, NULL)), 9);
    ck_assert_double_eq(nb_value(nb_squared_error(5, s, &(nb_loss_options){.weight = nb_num(3)})),
                        9);
    ck_assert_double_eq(nb_value(nb_hinge(s, -1, &(nb_loss_options){.mask = nb_num(1)})), 3);
    ck_assert_str_eq(nb_message(t), "");
    nb_tape_free(t);
}
END_TEST

/* ---- refusals -------------------------------------------------------------------------------- */

START_TEST(what_is_refused)
{
    nb_tape *t = nb_tape_new(NULL), *u = nb_tape_new(NULL);
    nb_var y = nb_name(nb_zeros(t, NB_SHAPE(3, 1)), "y"), z = nb_zeros(t, NB_SHAPE(3));
    const double bad[] = {0.5, 1.5, 0};
    nb_var p = nb_tensor(t, "p", NB_SHAPE(3), bad);
    refused(t, nb_squared_error(y, z, NULL), NB_ERR_SHAPE, "a is [3 1], b is [3]");
    refused(t, nb_squared_error(y, nb_zeros(u, NB_SHAPE(3, 1)), NULL), NB_ERR_HANDLE,
            "another tape");
    refused(t, nb_squared_error(y, NB_NONE, NULL), NB_ERR_HANDLE, "operand b is no var");
    refused(t, nb_binary_cross_entropy(p, z, NULL), NB_ERR_DOMAIN, "element 1 of a is 1.5");
    refused(t, nb_binary_cross_entropy(z, p, NULL), NB_ERR_DOMAIN, "element 1 of b is 1.5");
    refused(t, nb_logistic_loss(z, -1, NULL), NB_ERR_DOMAIN, "element 0 of b is -1");
    refused(t, nb_soft_cross_entropy(z, p, NULL), NB_ERR_DOMAIN, "\"p\"");
    refused(t, nb_huber(z, 0, &(nb_loss_options){.delta = -1}), NB_ERR_ARGUMENT, "it is -1");
    refused(t, nb_squared_error(z, 0, &(nb_loss_options){.weight = y}), NB_ERR_SHAPE,
            "the weight is [3 1], the losses are [3]");
    refused(t, nb_squared_error(z, 0, &(nb_loss_options){.mask = nb_zeros(t, NB_SHAPE(3))}),
            NB_ERR_EMPTY, "the mean of no losses");
    refused(t, nb_squared_error(z, 0, &(nb_loss_options){.reduction = (nb_reduction)9}),
            NB_ERR_ARGUMENT, "no such reduction");
    nb_tape_free(t), nb_tape_free(u);
}
END_TEST

START_TEST(wrong_labels)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_var z = nb_name(nb_zeros(t, NB_SHAPE(3, 2)), "z"), s = nb_input(t, "s", 1);
    const int64_t out[] = {0, 1, 2}, negative[] = {0, -1, 1}, none[] = {-1, -1, -1};
    const nb_loss_options ignore = {.ignore_negative = true};
    const size_t count = nb_count(t);
    refused(t, nb_cross_entropy(z, 3, out, NULL), NB_ERR_INDEX, "label 2 is 2, of 2 classes");
    refused(t, nb_cross_entropy(z, 3, negative, NULL), NB_ERR_INDEX, "label 1 is -1, of 2 classes");
    refused(t, nb_cross_entropy(z, 2, out, NULL), NB_ERR_SHAPE, "2 labels were given");
    refused(t, nb_cross_entropy(z, 3, NULL, NULL), NB_ERR_SHAPE, "0 labels were given");
    refused(t, nb_negative_log_likelihood(z, 3, out, NULL), NB_ERR_INDEX, "[3 2]");
    refused(t, nb_multiclass_hinge(s, 1, out, NULL), NB_ERR_SHAPE, "the rows have no axis");
    ck_assert_uint_eq(nb_count(t), count);
    refused(t, nb_cross_entropy(z, 3, none, &ignore), NB_ERR_EMPTY, "the mean of no losses");
    nb_var sum = nb_cross_entropy(
        z, 3, none, &(nb_loss_options){.ignore_negative = true, .reduction = NB_REDUCE_SUM});
    ck_assert_double_eq(nb_value(sum), 0);
    refused(t, nb_cross_entropy(z, 3, negative, &(nb_loss_options){.smoothing = 2}), NB_ERR_INDEX,
            "");
    refused(t,
            nb_cross_entropy(z, 3, negative,
                             &(nb_loss_options){.smoothing = 2, .ignore_negative = true}),
            NB_ERR_ARGUMENT, "it is 2");
    nb_var empty = nb_zeros(t, NB_SHAPE(0, 2));
    refused(t, nb_cross_entropy(empty, 0, NULL, NULL), NB_ERR_EMPTY, "the mean of no losses");
    refused(t, nb_squared_error(empty, 0, NULL), NB_ERR_EMPTY, "the mean of no losses");
    nb_tape_free(t);
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("loss_points");
    tcase_add_test(c, hard_points);
    tcase_add_test(c, logistic_tails);
    tcase_add_loop_test(c, infinite_logits, 0, 2);
    tcase_add_loop_test(c, left_out, 0, 2);
    tcase_add_test(c, zero_vectors);
    tcase_add_test(c, defaults);
    tcase_add_test(c, what_is_refused);
    tcase_add_test(c, wrong_labels);
    return run_case("loss_points", c);
}
