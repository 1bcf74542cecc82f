/*
 * Monitors: rows of small models against gradients worked out by hand, flags at their limits, other threads,
 * and what happens when memory ends.
 */
#include "monitor.h"

#include <pthread.h>
#include <stdatomic.h>

START_TEST(rows_by_hand)
{
    const double tol = _i ? 1e-6 : 1e-14;
    chain c = chain_of((nb_dtype)_i, 0.5, 8);
    watch_with(&c, NULL);
    ck_assert(step(&c, 1));
    int64_t count;
    const nb_monitor_row *all = nb_monitor_rows(c.w, &count);
    ck_assert_int_eq(count, 8);
    ck_assert(all[0].kind == NB_MONITOR_ACTIVATION && all[1].kind == NB_MONITOR_SLOPE);
    /* h1 {.5 -1}, h2 {4 -8}; gradients {3 4}, and 8 times that; of b {.5 -1} {3 4} = -2.5, of a -40 */
    const nb_monitor_row *h1 = row_of(&c, NB_MONITOR_ACTIVATION, "h1");
    ck_assert(h1->of.mean == -0.25 && h1->of.deviation == 0.75 && h1->step == 1);
    ck_assert(h1->units == 1 && h1->dead == 0 && isnan(h1->saturated) && isnan(h1->ratio));
    ck_assert(row_of(&c, NB_MONITOR_ACTIVATION, "h2")->of.least == -8);
    ck_assert(row_of(&c, NB_MONITOR_SLOPE, "h2")->of.length == 5);
    ck_assert(row_of(&c, NB_MONITOR_SLOPE, "h2")->ratio == 1);
    ck_assert(row_of(&c, NB_MONITOR_SLOPE, "h1")->of.mean == 28);
    ck_assert(row_of(&c, NB_MONITOR_SLOPE, "h1")->ratio == 8);
    ck_assert(row_of(&c, NB_MONITOR_GRADIENT, "b")->of.mean == -2.5);
    ck_assert(row_of(&c, NB_MONITOR_GRADIENT, "a")->of.mean == -40);
    ck_assert(row_of(&c, NB_MONITOR_GRADIENT, "a")->ratio == 16);
    const nb_monitor_row *a = row_of(&c, NB_MONITOR_UPDATE, "a");
    ck_assert(near(a->of.mean, 0.4, tol) && near(a->ratio, 0.8, tol) && raised(a, NB_FLAG_FAST));
    const nb_monitor_row *b = row_of(&c, NB_MONITOR_UPDATE, "b");
    ck_assert(fabs(b->of.mean - 0.025) < tol && !b->flags);
    double now;
    nb_params_read(c.p, c.a, &now, 1);
    ck_assert(near(now, 0.9, tol));
    chain_free(&c);
}
END_TEST

START_TEST(steps_that_are_looked_at)
{
    int64_t count;
    chain c = chain_of(NB_F64, 0.5, 0.5);
    watch_with(&c, &(nb_monitor_options){.every = 3, .kinds = 1u << NB_MONITOR_SLOPE});
    for (int64_t k = 1; k <= 7; k++)
        ck_assert(step(&c, k) == (k % 3 == 1));
    const nb_monitor_row *row = nb_monitor_rows(c.w, &count);
    ck_assert_int_eq(count, 6);
    for (int k = 0; k < 6; k++)
        ck_assert(row[k].step == 1 + k / 2 * 3 && row[k].kind == NB_MONITOR_SLOPE);
    ck_assert_ptr_null(nb_monitor_latest(c.w, NB_MONITOR_SLOPE, "h3"));
    /* evaluation, another tape, and nobody */
    nb_tape *other = nb_tape_new(NULL);
    ck_assert(nb_monitor_begin(c.w, other, 10));
    nb_pass m = nb_training_pass(c.p, c.t, NULL);
    record(&c, &m);
    m = nb_evaluation_pass(c.p, other);
    nb_monitor_watch(c.w, &m, "x", nb_input(other, "x", 1));
    ck_assert_int_eq(nb_monitor_look(c.w, NULL), NB_OK);
    nb_monitor_rows(c.w, &count);
    ck_assert_int_eq(count, 6);
    nb_tape_free(other);
    chain_free(&c);
}
END_TEST

/* Without a monitor every call does its duty and nothing else; so does watch after an error. */
START_TEST(nobody_watches)
{
    int64_t count = 1;
    chain c = chain_of(NB_F64, 0.5, 0.5);
    bool looked = step(&c, 1);
    ck_assert(!looked && nb_optim_steps(c.o) == 1);
    ck_assert(!nb_monitor_rows(NULL, &count) && count == 0 && !nb_monitor_snapshots(NULL));
    ck_assert_ptr_null(nb_monitor_latest(NULL, NB_MONITOR_UPDATE, "a"));
    nb_monitor_free(NULL);
    watch_with(&c, NULL);
    nb_monitor_begin(c.w, c.t, 1);
    const nb_pass m = nb_training_pass(c.p, c.t, NULL);
    const nb_var bad = nb_matmul(nb_pass_var(&m, c.a), nb_ones(c.t, NB_SHAPE(3, 3)));
    ck_assert(!nb_ok(nb_monitor_watch(c.w, &m, "bad", bad)));
    ck_assert_int_eq(nb_monitor_look(c.w, NULL), NB_OK);
    nb_monitor_rows(c.w, &count);
    ck_assert_int_eq(count, 0);
    chain_free(&c);
}
END_TEST

/* Looking changes no bit of what is learned. */
START_TEST(only_looking)
{
    double value[2][2];
    for (int k = 0; k < 2; k++) {
        chain c = chain_of(NB_F32, 0.7, 0.3);
        if (k)
            watch_with(&c, &(nb_monitor_options){.every = 2, .snapshots = 3});
        for (int64_t i = 1; i <= 9; i++)
            step(&c, i);
        nb_params_read(c.p, c.a, &value[k][0], 1);
        nb_params_read(c.p, c.b, &value[k][1], 1);
        chain_free(&c);
    }
    ck_assert(!memcmp(value[0], value[1], sizeof value[0]));
}
END_TEST

START_TEST(vanishing_and_exploding)
{
    chain c = chain_of(NB_F64, 1, 1e-3);
    watch_with(&c, NULL);
    step(&c, 1); /* gradient of h1 over that of h2: b */
    ck_assert(raised(row_of(&c, NB_MONITOR_SLOPE, "h1"), NB_FLAG_VANISHING));
    ck_assert(!row_of(&c, NB_MONITOR_SLOPE, "h2")->flags);
    ck_assert(raised(row_of(&c, NB_MONITOR_GRADIENT, "a"), NB_FLAG_VANISHING));
    watch_with(&c, &(nb_monitor_options){.vanishing = 1e-4});
    nb_params_write(c.p, c.b, (double[]){1e-3}, 1);
    step(&c, 1);
    ck_assert(!row_of(&c, NB_MONITOR_SLOPE, "h1")->flags);
    nb_params_write(c.p, c.b, (double[]){999}, 1);
    step(&c, 2);
    ck_assert(!row_of(&c, NB_MONITOR_SLOPE, "h1")->flags);
    nb_params_write(c.p, c.b, (double[]){1000}, 1);
    step(&c, 3);
    ck_assert(raised(row_of(&c, NB_MONITOR_SLOPE, "h1"), NB_FLAG_EXPLODING));
    nb_params_write(c.p, c.b, (double[]){0}, 1);
    step(&c, 4);
    ck_assert(raised(row_of(&c, NB_MONITOR_SLOPE, "h1"), NB_FLAG_VANISHING));
    chain_free(&c);
}
END_TEST

/* What no path leads to has a gradient of 0; a constant has none. The same name again is "x 2"; a scalar
 * and a vector have units too. */
START_TEST(other_nodes)
{
    int64_t count;
    chain c = chain_of(NB_F64, 1, 1);
    watch_with(&c, NULL);
    nb_monitor_begin(c.w, c.t, 1);
    const nb_pass m = nb_training_pass(c.p, c.t, NULL);
    nb_var k = nb_monitor_watch(c.w, &m, "k", nb_ones(c.t, NB_SHAPE(2)));
    nb_var x = nb_monitor_watch(c.w, &m, "x", nb_input(c.t, "s", 3));
    nb_var y = nb_monitor_watch(c.w, &m, "x", nb_mul(nb_detach(x), nb_sum(nb_pass_var(&m, c.a))));
    nb_monitor_watch(c.w, &m, NULL, nb_name(nb_add(y, 1), "named"));
    nb_backward(nb_sum(nb_mul(y, k)));
    ck_assert_int_eq(nb_monitor_look(c.w, NULL), NB_OK);
    nb_monitor_rows(c.w, &count);
    ck_assert_int_eq(count, 7);
    ck_assert_ptr_null(nb_monitor_latest(c.w, NB_MONITOR_SLOPE, "k"));
    ck_assert(row_of(&c, NB_MONITOR_ACTIVATION, "k")->units == 2);
    ck_assert(row_of(&c, NB_MONITOR_SLOPE, "x")->of.length == 0);
    ck_assert(raised(row_of(&c, NB_MONITOR_SLOPE, "x"), NB_FLAG_VANISHING));
    ck_assert(row_of(&c, NB_MONITOR_SLOPE, "x 2")->of.mean == 2);
    ck_assert(row_of(&c, NB_MONITOR_ACTIVATION, "x 2")->of.mean == 3);
    ck_assert(row_of(&c, NB_MONITOR_SLOPE, "named")->of.mean == 0);
    chain_free(&c);
}
END_TEST

/* ---- threads --------------------------------------------------------------------------------- */

typedef struct helper {
    const nb_params *p;
    nb_monitor *w;
    atomic_bool stop;
    atomic_int passes;
    bool bad;
} helper;

/* Passes on a tape of its own, with gradients of its own, as fits with threads make them. */
static void *make_passes(void *context)
{
    helper *h = context;
    nb_tape *t = nb_tape_new(NULL);
    const nb_mark start = nb_tape_mark(t);
    double grads[2];
    nb_var var[2];
    while (!atomic_load(&h->stop)) {
        const nb_pass m =
            nb_pass_with(h->p, t, &(nb_pass_spec){.var = var, .grads = grads, .training = true});
        const nb_var x = nb_pass_var(&m, 0);
        h->bad = h->bad || nb_monitor_watch(h->w, &m, "other", x).index != x.index;
        nb_rewind(start);
        atomic_fetch_add(&h->passes, 1);
    }
    nb_tape_free(t);
    return NULL;
}

START_TEST(other_tapes_on_other_threads)
{
    pthread_t thread;
    chain c = chain_of(NB_F64, 0.5, 0.5);
    watch_with(&c, &(nb_monitor_options){.kinds = 1u << NB_MONITOR_ACTIVATION});
    helper h = {.p = c.p, .w = c.w};
    ck_assert_int_eq(pthread_create(&thread, NULL, make_passes, &h), 0);
    int64_t count, n = 0;
    while (n < 200 || atomic_load(&h.passes) < 200) {
        const nb_mark start = nb_tape_mark(c.t);
        nb_monitor_begin(c.w, c.t, ++n);
        const nb_pass m = nb_training_pass(c.p, c.t, NULL);
        nb_backward(record(&c, &m));
        ck_assert_int_eq(nb_monitor_look(c.w, NULL), NB_OK);
        nb_rewind(start);
    }
    atomic_store(&h.stop, true);
    pthread_join(thread, NULL);
    nb_monitor_rows(c.w, &count);
    ck_assert(count == 2 * n && !h.bad && !nb_monitor_latest(c.w, NB_MONITOR_ACTIVATION, "other"));
    chain_free(&c);
}
END_TEST

/* ---- refusals -------------------------------------------------------------------------------- */

START_TEST(bad_options)
{
    nb_reason why = {""};
    chain c = chain_of(NB_F64, 1, 1);
    const nb_monitor_options bad[] = {
        {.every = -1},    {.silent = -1},        {.kinds = 1u << 30}, {.ranges = 1},
        {.snapshots = 2}, {.snapshots = -3},     {.vanishing = -1},   {.exploding = 1e-4},
        {.fast = 1e-7},   {.dead = (double)NAN}, {.saturated = -1},
    };
    for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
        why.text[0] = 0;
        ck_assert_ptr_null(nb_monitor_new(c.p, &bad[k], &why));
        ck_assert_msg(why.text[0], "options %zu", k);
    }
    ck_assert_ptr_null(nb_monitor_new(NULL, NULL, &why));
    ck_assert_ptr_null(nb_monitor_new(c.p, &(nb_monitor_options){.snapshots = INT64_MAX}, &why));
    ck_assert_ptr_nonnull(strstr(why.text, "no memory"));
    /* looking too late */
    watch_with(&c, NULL);
    const nb_mark start = nb_tape_mark(c.t);
    nb_monitor_begin(c.w, c.t, 1);
    const nb_pass m = nb_training_pass(c.p, c.t, NULL);
    record(&c, &m);
    nb_rewind(start);
    said(nb_monitor_look(c.w, &why), NB_ERR_HANDLE, &why, "\"h1\" is no longer on the tape");
    int64_t count;
    nb_monitor_rows(c.w, &count);
    ck_assert_int_eq(count, 0);
    chain_free(&c);
}
END_TEST

/* Each request refused in turn: a code and a reason, no leak, parameters as before or after the step. */
START_TEST(memory_ends)
{
    bool done = false;
    size_t refused = 0;
    for (size_t k = 1; !done; k++) {
        counting count = {.refuse = k};
        const nb_allocator a = counting_allocator(&count);
        nb_reason why = {""};
        chain c = chain_of(NB_F64, 0.5, 1);
        c.w = nb_monitor_new(c.p, &(nb_monitor_options){.snapshots = 4, .allocator = &a}, &why);
        ck_assert(c.w != NULL || strstr(why.text, "memory"));
        bool looked = false;
        const nb_code code = c.w ? step_of(&c, 1, &looked, &why) : NB_ERR_MEMORY;
        ck_assert(code == NB_OK || code == NB_ERR_MEMORY);
        ck_assert(code == NB_OK || strstr(why.text, "memory"));
        ck_assert_int_eq(nb_optim_steps(c.o), code == NB_OK);
        int64_t rows; /* of a look all or none, and of a step */
        nb_monitor_rows(c.w, &rows);
        ck_assert(code == NB_OK ? rows == 8 : rows == 0 || rows == 4);
        if (c.w && code != NB_OK)
            step(&c, 2); /* as if nothing had been */
        nb_monitor_point point[4];
        if (c.w && code == NB_OK) {
            const size_t before = count.refusals;
            const nb_code path = nb_monitor_path(c.w, point, NULL, &why);
            ck_assert_int_eq(path, count.refusals > before ? NB_ERR_MEMORY : NB_OK);
        }
        done = !count.refusals;
        refused += count.refusals;
        chain_free(&c);
        ck_assert_uint_eq(count.blocks, 0);
    }
    ck_assert_uint_ge(refused, 8);
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("monitor");
    tcase_add_loop_test(c, rows_by_hand, 0, 2);
    tcase_add_test(c, steps_that_are_looked_at);
    tcase_add_test(c, nobody_watches);
    tcase_add_test(c, only_looking);
    tcase_add_test(c, vanishing_and_exploding);
    tcase_add_test(c, other_nodes);
    tcase_add_test(c, other_tapes_on_other_threads);
    tcase_add_test(c, bad_options);
    tcase_add_test(c, memory_ends);
    return run_case("monitor", c);
}
