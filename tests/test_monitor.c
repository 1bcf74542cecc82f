/*
 * Monitors: rows of small models against gradients worked out by hand, flags at their limits, dead units,
 * text, and what happens when memory ends.
 */
#include "counting.h"
#include "reason.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

static bool near(double x, double y, double tolerance)
{
    return fabs(x - y) <= tolerance * fabs(y);
}

/* ---- a chain of layers ----------------------------------------------------------------------- */

/* h1 = a x, h2 = b h1, loss = sum h2 with x = {1 -2}: the gradient of h2 is 1, of h1 b, of a b x. */
typedef struct chain {
    nb_params *p;
    nb_tape *t;
    nb_optim *o;
    nb_param a, b;
    nb_monitor *w;
} chain;

static chain chain_of(nb_dtype d, double a, double b)
{
    nb_reason why = {""};
    chain c = {.p = nb_params_new(&(nb_params_options){.dtype = d}),
               .t = nb_tape_new(&(nb_options){.dtype = d})};
    c.a = nb_params_add(c.p, "a", NB_SHAPE(1, 1), NULL, NULL);
    c.b = nb_params_add(c.p, "b", NB_SHAPE(1, 1), NULL, NULL);
    nb_params_write(c.p, c.a, &a, 1);
    nb_params_write(c.p, c.b, &b, 1);
    c.o = nb_optim_new(c.p, &(nb_optim_options){.rule = nb_update_of(NB_SGD), .rate = 0.01}, &why);
    ck_assert_msg(c.o != NULL, "%s", why.text);
    return c;
}

static void watch_with(chain *c, const nb_monitor_options *o)
{
    nb_reason why = {""};
    nb_monitor_free(c->w);
    c->w = nb_monitor_new(c->p, o, &why);
    ck_assert_msg(c->w != NULL, "%s", why.text);
}

static void chain_free(chain *c)
{
    nb_monitor_free(c->w);
    nb_optim_free(c->o);
    nb_tape_free(c->t);
    nb_params_free(c->p);
}

static nb_var record(const chain *c, const nb_pass *m)
{
    nb_var x = nb_constant_tensor(c->t, NB_SHAPE(2, 1), (double[]){1, -2});
    nb_var h = nb_monitor_watch(c->w, m, "h1", nb_matmul(x, nb_pass_var(m, c->a)));
    h = nb_monitor_watch(c->w, m, "h2", nb_matmul(h, nb_pass_var(m, c->b)));
    return nb_sum(nb_mul(h, nb_constant_tensor(c->t, NB_SHAPE(2, 1), (double[]){3, 4})));
}

static nb_code step_of(chain *c, int64_t step, bool *looked, nb_reason *why)
{
    const nb_mark start = nb_tape_mark(c->t);
    *looked = nb_monitor_begin(c->w, c->t, step);
    const nb_pass m = nb_training_pass(c->p, c->t, NULL);
    nb_code code = nb_backward(record(c, &m));
    ck_assert_msg(code == NB_OK, "%s", nb_message(c->t));
    code = nb_monitor_look(c->w, why);
    nb_rewind(start);
    return code == NB_OK ? nb_monitor_step(c->w, c->o, why) : code;
}

static bool step(chain *c, int64_t number)
{
    bool looked;
    nb_reason why = {""};
    fine(step_of(c, number, &looked, &why), &why);
    return looked;
}

static const nb_monitor_row *row_of(const chain *c, nb_monitor_kind kind, const char *name)
{
    const nb_monitor_row *row = nb_monitor_latest(c->w, kind, name);
    ck_assert_msg(row != NULL, "no %s of %s", nb_monitor_kind_name(kind), name);
    return row;
}

static bool raised(const nb_monitor_row *row, nb_monitor_flag flag)
{
    return row->flags >> flag & 1;
}

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

/* ---- units ----------------------------------------------------------------------------------- */

static const nb_monitor_row *see(chain *c, int64_t number, nb_shape shape, const double *x)
{
    const nb_mark start = nb_tape_mark(c->t);
    nb_monitor_begin(c->w, c->t, number);
    const nb_pass m = nb_training_pass(c->p, c->t, NULL);
    nb_monitor_watch(c->w, &m, "x", nb_tensor(c->t, "x", shape, x));
    nb_backward(nb_sum(nb_pass_var(&m, c->a)));
    ck_assert_int_eq(nb_monitor_look(c->w, NULL), NB_OK);
    nb_rewind(start);
    return row_of(c, NB_MONITOR_ACTIVATION, "x");
}

START_TEST(dead_units)
{
    chain c = chain_of(NB_F64, 1, 1);
    watch_with(&c, NULL);
    /* along the last axis: of three units the first is 0 in both rows */
    const nb_monitor_row *row = see(&c, 1, NB_SHAPE(2, 3), (double[]){0, 0, 1, 0, 2, 0});
    ck_assert(row->units == 3 && row->dead == 1 && !row->flags);
    row = see(&c, 2, NB_SHAPE(2, 3), (double[]){0, 0, 1, 0, 0, 0});
    ck_assert(row->dead == 2 && raised(row, NB_FLAG_DEAD));
    /* channels: [2 2 1 2], the second is 0 in both images */
    row = see(&c, 3, NB_SHAPE(2, 2, 1, 2), (double[]){0, 1, 0, 0, 1, 0, 0, 0});
    ck_assert(row->units == 2 && row->dead == 1);
    row = see(&c, 4, NB_SHAPE(0, 2), NULL);
    ck_assert(row->units == 0 && row->dead == 0 && row->of.n == 0);
    /* only after two looks in succession */
    watch_with(&c, &(nb_monitor_options){.silent = 2});
    ck_assert(see(&c, 1, NB_SHAPE(1, 2), (double[]){0, 0})->dead == 0);
    ck_assert(see(&c, 2, NB_SHAPE(1, 2), (double[]){0, 1})->dead == 1);
    ck_assert(see(&c, 3, NB_SHAPE(1, 2), (double[]){1, 0})->dead == 0);
    ck_assert(see(&c, 4, NB_SHAPE(1, 2), (double[]){0, 0})->dead == 1);
    chain_free(&c);
}
END_TEST

START_TEST(saturation)
{
    chain c = chain_of(NB_F64, 1, 1);
    const nb_monitor_range range[] = {{"y", -1, 1}, {NULL, 0.01, 0.99}};
    watch_with(&c, &(nb_monitor_options){.ranges = 2, .range = range});
    const nb_monitor_row *row =
        see(&c, 1, NB_SHAPE(2, 2), (double[]){0.01, 0.5, 0.99, (double)NAN});
    ck_assert(row->saturated == 0.5 && row->dead == 1 && row->flags == 1u << NB_FLAG_NOT_FINITE);
    row = see(&c, 2, NB_SHAPE(2, 2), (double[]){0.001, 0.5, 0.999, 1});
    ck_assert(row->saturated == 0.75 && row->flags == 1u << NB_FLAG_SATURATED);
    chain_free(&c);
}
END_TEST

/* ---- parameters ------------------------------------------------------------------------------ */

/* A bias is not compared, a frozen parameter has no row. */
START_TEST(parameters_of_all_kinds)
{
    nb_reason why = {""};
    nb_params *p = nb_params_new(NULL);
    for (int k = 0; k < 4; k++)
        nb_params_add(
            p, (const char *[]){"w", "b", "f", "v"}[k], k == 1 ? NB_SHAPE(2) : NB_SHAPE(2, 1),
            &(nb_param_options){.init = {NB_INIT_CONSTANT, k != 1, 0}, .frozen = k == 2}, NULL);
    nb_optim *o =
        nb_optim_new(p, &(nb_optim_options){.rule = nb_update_of(NB_SGD), .rate = 1e-7}, &why);
    nb_monitor *m = nb_monitor_new(p, NULL, &why);
    memcpy(nb_params_grads(p), (double[]){1, 0, 1e9, 1e9, 5, 5, 3, 4}, 8 * sizeof(double));
    ck_assert(nb_monitor_begin(m, NULL, 1));
    fine(nb_monitor_look(m, &why), &why);
    fine(nb_monitor_step(m, o, &why), &why);
    ck_assert_ptr_null(nb_monitor_latest(m, NB_MONITOR_GRADIENT, "f"));
    ck_assert(near(nb_monitor_latest(m, NB_MONITOR_GRADIENT, "w")->ratio, 0.2, 1e-15));
    const nb_monitor_row *b = nb_monitor_latest(m, NB_MONITOR_GRADIENT, "b");
    ck_assert(isnan(b->ratio) && !b->flags);
    b = nb_monitor_latest(m, NB_MONITOR_UPDATE, "b");
    ck_assert(isnan(b->ratio) && !b->flags && near(b->of.mean, -100, 1e-12));
    const nb_monitor_row *w = nb_monitor_latest(m, NB_MONITOR_UPDATE, "w");
    ck_assert(near(w->ratio, 1e-7 / sqrt(2), 1e-6) && raised(w, NB_FLAG_SLOW));
    /* a gradient that is not finite: the step fails, and the row tells why */
    ((double *)nb_params_grads(p))[6] = (double)NAN;
    ck_assert(nb_monitor_begin(m, NULL, 2));
    said(nb_monitor_step(m, o, &why), NB_ERR_ANOMALY, &why, "\"v\"");
    const nb_monitor_row *v = nb_monitor_latest(m, NB_MONITOR_GRADIENT, "v");
    ck_assert(v->step == 2 && v->of.bad == 1 && raised(v, NB_FLAG_NOT_FINITE));
    ck_assert(nb_monitor_latest(m, NB_MONITOR_UPDATE, "v")->step == 1);
    ((double *)nb_params_grads(p))[6] = 3;
    fine(nb_monitor_step(m, o, &why), &why); /* this look is over */
    ck_assert(nb_optim_steps(o) == 2 && nb_monitor_latest(m, NB_MONITOR_UPDATE, "v")->step == 1);
    nb_monitor_free(m);
    nb_optim_free(o);
    nb_params_free(p);
}
END_TEST

/* ---- text ------------------------------------------------------------------------------------ */

static char *text_of(const nb_monitor *m, nb_code (*write)(FILE *, const nb_monitor *))
{
    static char text[8192];
    FILE *f = tmpfile();
    ck_assert_ptr_nonnull(f);
    ck_assert_int_eq(write(f, m), NB_OK);
    rewind(f);
    text[fread(text, 1, sizeof text - 1, f)] = 0;
    fclose(f);
    return text;
}

START_TEST(texts)
{
    chain c = chain_of(NB_F64, 0.5, 1e-3);
    ck_assert_int_eq(nb_monitor_print(NULL, NULL), NB_ERR_ARGUMENT);
    ck_assert_int_eq(nb_monitor_write_csv(NULL, NULL), NB_ERR_ARGUMENT);
    watch_with(&c, NULL);
    ck_assert_ptr_nonnull(strstr(text_of(c.w, nb_monitor_print), "nothing was looked at"));
    nb_monitor_begin(c.w, c.t, 1);
    const nb_pass m = nb_training_pass(c.p, c.t, NULL);
    nb_monitor_watch(c.w, &m, "say \"x\"\n", nb_pass_var(&m, c.a));
    nb_backward(record(&c, &m));
    ck_assert_int_eq(nb_monitor_look(c.w, NULL), NB_OK);
    const char *table = text_of(c.w, nb_monitor_print);
    ck_assert_ptr_nonnull(strstr(table, "activation gradient, step 1"));
    ck_assert_ptr_nonnull(strstr(table, "1.0e-03  ! vanishing\n"));
    ck_assert_ptr_nonnull(strstr(table, "say \"x\"? "));
    const char *csv = text_of(c.w, nb_monitor_write_csv);
    ck_assert(strstr(csv, "step,name,kind,") == csv);
    ck_assert_ptr_nonnull(strstr(csv, "\n1,\"say \"\"x\"\"\n\",activation,1,0,0.5,0,0.5,0.5,0.5,"
                                      "0.5,0.5,0.5,1,0,,,\n"));
    ck_assert_ptr_nonnull(strstr(csv, ",0.001,vanishing\n"));
    for (int k = 0; k <= NB_MONITOR_FLAG_COUNT; k++)
        ck_assert((nb_monitor_flag_name((nb_monitor_flag)k)[0] == '?') ==
                  (k == NB_MONITOR_FLAG_COUNT));
    ck_assert_str_eq(nb_monitor_kind_name(NB_MONITOR_KIND_COUNT), "?");
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
    tcase_add_test(c, dead_units);
    tcase_add_test(c, saturation);
    tcase_add_test(c, parameters_of_all_kinds);
    tcase_add_test(c, texts);
    tcase_add_test(c, bad_options);
    tcase_add_test(c, memory_ends);
    return run_case("monitor", c);
}
