/*
 * Dropout: what is kept and what is not is read off the values; the gradient must tell the same
 * story. Frequencies are held to five standard deviations of the binomial law.
 */
#include "counting.h"
#include "run.h"

#include <math.h>
#include <nabla.h>
#include <string.h>

static nb_tape *tape_of(int d)
{
    nb_tape *t = nb_tape_new(&(nb_options){.dtype = (nb_dtype)d});
    ck_assert_ptr_nonnull(t);
    return t;
}

START_TEST(keeps_the_mean)
{
    enum { N = 100001 };
    static const double list[] = {0.5, 0.1, 0.9, 0.25};
    static double y[N], g[N];
    for (int k = 0; k < 4; k++) {
        const double p = list[k];
        nb_tape *t = tape_of(_i);
        nb_rng r = nb_rng_seed(11), again = r;
        nb_var x = nb_leaf("x", nb_full(t, NB_SHAPE(N), 3)), v = nb_dropout(x, p, &r);
        const double kept = _i ? (double)(float)(3 / (1 - p)) : 3 / (1 - p);
        int64_t dropped = 0, wrong = 0, runs = 0;
        nb_read(v, y, N);
        ck_assert_int_eq(nb_backward(nb_sum(nb_mul(v, v))), NB_OK);
        nb_read_grad(x, g, N);
        for (int i = 0; i < N; i++) {
            dropped += y[i] == 0;
            wrong += y[i] != 0 && fabs(y[i] / kept - 1) > 1e-7;
            wrong +=
                fabs(g[i] - 2 * y[i] / (1 - p)) > 1e-5 * fabs(g[i]) || (y[i] == 0 && g[i] != 0);
            runs += i && (y[i] == 0) != (y[i - 1] == 0);
        }
        ck_assert_int_eq(wrong, 0);
        ck_assert(fabs((double)dropped - N * p) < 5 * sqrt(N * p * (1 - p)));
        const double q = 2 * p * (1 - p); /* neighbours differ */
        ck_assert(fabs((double)runs - N * q) < 5 * sqrt(2 * N * q));
        for (int i = 0; i < (N + 1) / 2; i++) /* how far the generator moved */
            nb_rng_bits(&again);
        ck_assert_mem_eq(&r, &again, sizeof r);
        nb_tape_free(t);
    }
}
END_TEST

START_TEST(hard_points)
{
    const double values[] = {(double)INFINITY, (double)NAN, -(double)INFINITY, 1, -2};
    double y[5], g[5];
    nb_tape *t = tape_of(_i);
    nb_rng r = nb_rng_seed(2);
    nb_var x = nb_tensor(t, "x", NB_SHAPE(5), values), v = nb_dropout(x, 1, &r);
    nb_read(v, y, 5);
    ck_assert_int_eq(nb_backward(nb_sum(v)), NB_OK);
    nb_read_grad(x, g, 5);
    for (int i = 0; i < 5; i++)
        ck_assert(y[i] == 0 && g[i] == 0);
    v = nb_dropout(x, 0, &r);
    nb_read(v, y, 5);
    nb_backward(nb_sum(v));
    nb_read_grad(x, g, 5);
    for (int i = 0; i < 5; i++)
        ck_assert((y[i] == values[i] || isnan(values[i])) && g[i] == 1);
    nb_var s = nb_input(t, "s", 3), z = nb_dropout(s, 0.5, &r);
    ck_assert(nb_value(z) == 0 || nb_value(z) == 6);
    ck_assert(nb_size(nb_dropout(nb_ones(t, NB_SHAPE(0, 4)), 0.5, &r)) == 0);
    ck_assert_int_eq(nb_status(t), NB_OK);
    nb_tape_free(t);
}
END_TEST

/* The mask is the node's: two sweeps, and the gradient as graph, see what the value saw; and the same
 * generator gives the same mask. */
START_TEST(one_mask)
{
    enum { N = 77 };
    double y[N], z[N], g[N], h[N];
    nb_tape *t = tape_of(_i);
    nb_rng r = nb_rng_seed(4), same = r;
    nb_var x = nb_leaf("x", nb_ones(t, NB_SHAPE(N))), v = nb_dropout(x, 0.5, &r), d;
    nb_read(v, y, N);
    nb_read(nb_dropout(x, 0.5, &same), z, N);
    ck_assert_mem_eq(y, z, sizeof y);
    ck_assert_mem_eq(&r, &same, sizeof r);
    nb_read(nb_dropout(x, 0.5, &r), z, N);
    ck_assert_mem_ne(y, z, sizeof y);
    nb_var f = nb_sum(nb_square(v));
    nb_diff(1, &f, NULL, 1, &x, &d);
    nb_read(d, g, N);
    nb_backward(f);
    nb_backward(f);
    nb_read_grad(x, h, N);
    ck_assert_mem_eq(g, h, sizeof g);
    nb_backward(nb_sum(d)); /* second order: 2 / (1 - p)^2 where kept */
    nb_read_grad(x, h, N);
    for (int i = 0; i < N; i++)
        ck_assert(h[i] == (y[i] != 0 ? 8 : 0));
    nb_tape_free(t);
}
END_TEST

static void refused(nb_tape *t, nb_var y, const char *part)
{
    ck_assert(!nb_ok(y));
    ck_assert_int_eq(nb_status(t), NB_ERR_ARGUMENT);
    ck_assert_msg(strstr(nb_message(t), part) != NULL, "%s", nb_message(t));
    nb_clear(t);
}

START_TEST(what_is_refused)
{
    nb_tape *t = tape_of(_i);
    nb_rng r = nb_rng_seed(1), before = r;
    nb_var x = nb_ones(t, NB_SHAPE(4));
    refused(t, nb_dropout(x, -0.1, &r), "it is -0.1");
    refused(t, nb_dropout(x, 1.5, &r), "it is 1.5");
    refused(t, nb_dropout(x, (double)NAN, &r), "it is nan");
    refused(t, nb_dropout(x, 0.5, NULL), "generator is NULL");
    ck_assert_mem_eq(&r, &before, sizeof r);
    ck_assert(nb_ok(nb_dropout(x, 0.5, &r)));
    nb_tape_free(t);
}
END_TEST

START_TEST(memory_runs_out)
{
    bool done = false, some = false;
    for (size_t k = 1; !done; k++) {
        counting c = {.refuse = 0};
        nb_tape *t = nb_tape_new(
            &(nb_options){.allocator = counting_allocator(&c), .nodes = 4, .bytes = 128});
        nb_var x = nb_ones(t, NB_SHAPE(20000));
        nb_rng r = nb_rng_seed(1);
        c.refuse = c.calls + k, c.for_ever = true;
        nb_var y = nb_dropout(x, 0.5, &r);
        done = c.refusals == 0;
        some = some || !done;
        ck_assert_int_eq(nb_ok(y), done);
        ck_assert_int_eq(nb_status(t), done ? NB_OK : NB_ERR_MEMORY);
        c.refuse = 0;
        nb_clear(t);
        ck_assert(nb_ok(nb_dropout(x, 0.5, &r)));
        nb_tape_free(t);
        ck_assert_uint_eq(c.blocks, 0);
    }
    ck_assert(some);
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("dropout");
    tcase_add_loop_test(c, keeps_the_mean, 0, 2);
    tcase_add_loop_test(c, hard_points, 0, 2);
    tcase_add_loop_test(c, one_mask, 0, 2);
    tcase_add_loop_test(c, what_is_refused, 0, 2);
    tcase_add_test(c, memory_runs_out);
    return run_case("dropout", c);
}
