/*
 * The course of a fit: how it ends, its learning rates, what it tells meanwhile, and numbers that are not
 * finite.
 */
#include "fit.h"

/* ---- ending, and rates ----------------------------------------------------------------------- */

/* One number p, (p - y)^2. Trained towards 1, judged by how near it is to 0.3: better at first, then worse. */
static nb_var number(void *context, const nb_pass *m, nb_var x)
{
    return nb_add(nb_mul(0, x), nb_pass_var(m, *(nb_param *)context));
}

static const double nothing[4] = {0}, one[4] = {1, 1, 1, 1}, some[4] = {0.3, 0.3, 0.3, 0.3};

typedef struct small {
    nb_params *p;
    nb_param x;
    nb_optim *o;
    nb_dataset train, valid;
    nb_fit_spec s;
} small;

static void make_small(small *m, double rate)
{
    *m = (small){.p = nb_params_new(NULL),
                 .train = {.rows = 4, .columns = 1, .x = nothing, .targets = 1, .y = one},
                 .valid = {.rows = 4, .columns = 1, .x = nothing, .targets = 1, .y = some}};
    m->x = nb_params_add(m->p, "x", NB_POINT, NULL, NULL);
    m->o =
        nb_optim_new(m->p, &(nb_optim_options){.rule = nb_update_of(NB_SGD), .rate = rate}, NULL);
    m->s = (nb_fit_spec){.learner = {.params = m->p, .model = number, .context = &m->x},
                         .train = &m->train,
                         .valid = &m->valid,
                         .optim = m->o,
                         .epochs = 100};
}

static void free_small(small *m)
{
    nb_optim_free(m->o);
    nb_params_free(m->p);
}

/* p = 1 - 0.9^k at rate 0.05: nearest to 0.3 at k = 3 (0.271), and after that further for ever. */
START_TEST(patience)
{
    small m;
    nb_fit_result r;
    make_small(&m, 0.05);
    m.s.patience = 4;
    run_fit(&m.s, &r);
    ck_assert_int_eq(r.end, NB_FIT_PATIENCE);
    ck_assert_int_eq(r.epochs, 7);
    ck_assert_int_eq(r.best_epoch, 3);
    ck_assert_double_eq_tol(r.best_loss, 0.029 * 0.029, 1e-12);
    for (int k = 0; k < 7; k++) {
        ck_assert_double_eq_tol(r.history[k].loss, pow(0.81, k), 1e-12);
        ck_assert_double_eq_tol(r.history[k].gradient, 2 * pow(0.9, k), 1e-12);
    }
    ck_assert_str_eq(nb_fit_end_name(r.end), "the loss fell no more");
    nb_fit_result_free(&r);
    free_small(&m);
}
END_TEST

/* Falls that are too small to wait for are falls all the same: the best is the least. Losses are 0.81^k, of
 * which 1, 0.81^2, 0.81^4, 0.81^7 each lie 0.2 lower than the one before, and none after these. */
START_TEST(small_falls)
{
    small m;
    nb_fit_result r;
    make_small(&m, 0.05);
    m.s.valid = NULL;
    m.s.patience = 4;
    m.s.least = 0.2;
    run_fit(&m.s, &r);
    ck_assert_int_eq(r.end, NB_FIT_PATIENCE);
    ck_assert_int_eq(r.epochs, 12);
    ck_assert_int_eq(r.best_epoch, 12);
    ck_assert_double_eq_tol(r.best_loss, pow(0.81, 11), 1e-12);
    nb_fit_result_free(&r);
    free_small(&m);
}
END_TEST

/* The schedule has the length of the fit, after its warm-up; a plateau halves the rate. */
START_TEST(rates)
{
    small m;
    nb_fit_result r;
    make_small(&m, 0.05);
    m.s.epochs = 10;
    m.s.schedule = (nb_schedule){.kind = NB_LINEAR, .rate = 0.1, .warm_up = 2};
    run_fit(&m.s, &r);
    ck_assert_double_eq_tol(r.history[0].rate, 0.1 / 3, 1e-15);
    for (int k = 2; k < 10; k++)
        ck_assert_double_eq_tol(r.history[k].rate, 0.1 * (10 - k) / 8, 1e-15);
    nb_fit_result_free(&r);
    nb_plateau plateau = {.rate = 0.05, .factor = 0.5, .patience = 1};
    free_small(&m);
    make_small(&m, 0.4);
    m.s.schedule.rate = 0;
    m.s.plateau = &plateau;
    m.s.epochs = 6;
    run_fit(&m.s, &r); /* best in epoch 3; 4 is the one bad one allowed, 5 another */
    ck_assert_double_eq(r.history[4].rate, 0.05);
    ck_assert_double_eq(r.history[5].rate, 0.025);
    nb_fit_result_free(&r);
    free_small(&m);
}
END_TEST

static nb_code end_steps(void *context, const nb_fit_step *s)
{
    learned *l = context;
    l->seen = s->step;
    return s->step == l->stop_at ? l->signal ? NB_ERR_DOMAIN : NB_ERR_CALLBACK : NB_OK;
}

static nb_code end_epochs(void *context, const nb_fit_epoch *e)
{
    (void)context;
    return e->epoch == 2 ? NB_ERR_CALLBACK : NB_OK;
}

START_TEST(callbacks)
{
    learned l;
    nb_fit_result r;
    nb_reason why = {""};
    nb_dataset *d = blobs(NB_F64, 75, 1, NULL);
    make_learned(&l, NB_F64, false, NULL);
    nb_fit_spec s = spec_of(&l, d, NULL);
    s.on_step = end_steps;
    l.stop_at = 8;
    run_fit(&s, &r);
    ck_assert_int_eq(r.end, NB_FIT_CALLBACK);
    ck_assert_int_eq(r.steps, 8);
    ck_assert_int_eq(l.seen, 8);
    ck_assert_int_eq(r.epochs, 1);
    nb_fit_result_free(&r);
    l.signal = 1; /* a failure */
    said(nb_fit(&s, &r, &why), NB_ERR_DOMAIN, &why, "after step 8 a callback failed");
    ck_assert_int_eq(r.end, NB_FIT_FAILED);
    nb_fit_result_free(&r);
    s.on_step = NULL;
    s.on_epoch = end_epochs;
    run_fit(&s, &r);
    ck_assert_int_eq(r.end, NB_FIT_CALLBACK);
    ck_assert_int_eq(r.epochs, 2);
    nb_fit_result_free(&r);
    nb_fit_result_free(&r);
    free_learned(&l);
    nb_dataset_free(d);
}
END_TEST

/* A share is held out, each class alike, and never trained on. */
static nb_code count_rows(void *context, const nb_dataset *d, int64_t width, const void *y,
                          double *out, nb_reason *why)
{
    (void)context, (void)width, (void)y, (void)why;
    *out = (double)d->rows;
    return NB_OK;
}

START_TEST(held_out)
{
    learned l;
    nb_fit_result r;
    nb_dataset *d = blobs(NB_F64, 90, 1, NULL);
    make_learned(&l, NB_F64, true, NULL);
    nb_fit_spec s = spec_of(&l, d, NULL);
    s.valid_share = 0.2;
    s.learner.metric = &(nb_metric){"count_rows", count_rows};
    s.learner.metrics = 1;
    s.batch = 100;
    run_fit(&s, &r);
    ck_assert_double_eq(r.history[0].metric[0], 72);
    ck_assert_double_eq(r.history[0].valid_metric[0], 18);
    nb_fit_result_free(&r);
    free_learned(&l);
    nb_dataset_free(d);
}
END_TEST

/* ---- what is told ---------------------------------------------------------------------------- */

/* The log has a line for each epoch; a file is no terminal, and gets no bar. */
START_TEST(log_lines)
{
    char line[400];
    int lines = 0;
    learned l;
    FILE *log = tmpfile(), *bar = tmpfile();
    nb_dataset *d = blobs(NB_F64, 75, 1, NULL);
    ck_assert(log && bar);
    make_learned(&l, NB_F64, true, NULL);
    nb_fit_spec s = spec_of(&l, d, d);
    s.log = log;
    s.progress = bar;
    run_fit(&s, NULL);
    rewind(log);
    while (fgets(line, sizeof line, log)) {
        char start[100];
        lines++;
        snprintf(start, sizeof start, "epoch %d of 4  step %d  loss ", lines, 5 * lines);
        ck_assert_msg(!strncmp(line, start, strlen(start)), "%s", line);
        ck_assert(strstr(line, "  valid accuracy ") && strstr(line, "  rate 0.02  gradient "));
    }
    ck_assert_int_eq(lines, 4);
    ck_assert_int_eq(ftell(bar), 0);
    fclose(log);
    fclose(bar);
    free_learned(&l);
    nb_dataset_free(d);
}
END_TEST

static nb_monitor *monitor;

static nb_var watched(void *context, const nb_pass *m, nb_var x)
{
    const learned *l = context;
    nb_var h = nb_tanh(nb_linear_apply(&l->hidden, m, x, NULL));
    return nb_linear_apply(&l->out, m, nb_monitor_watch(monitor, m, "h", h), NULL);
}

/* A monitor sees the steps it wants, of each the first part, whoever works on it: 4 rows of 16 with 8 units. */
START_TEST(monitors)
{
    double mean[3];
    nb_dataset *d = blobs(NB_F64, 75, 1, NULL);
    for (int k = 0; k < 3; k++) {
        learned l;
        int64_t count, seen = 0;
        nb_reason why = {""};
        make_learned(&l, NB_F64, true, NULL);
        monitor = nb_monitor_new(l.p, &(nb_monitor_options){.every = 5}, &why);
        nb_fit_spec s = spec_of(&l, d, d);
        s.learner.model = watched;
        s.monitor = monitor;
        s.micro = 4;
        s.threads = k + 1;
        run_fit(&s, NULL);
        const nb_monitor_row *row = nb_monitor_rows(monitor, &count);
        for (int64_t i = 0; i < count; i++) {
            seen += row[i].kind == NB_MONITOR_ACTIVATION;
            ck_assert_int_eq(row[i].step % 5, 1);
            ck_assert(row[i].kind > NB_MONITOR_SLOPE || row[i].of.n == 4 * 8);
        }
        ck_assert_int_eq(seen, 4); /* of 20 steps: 1, 6, 11, 16 */
        mean[k] = nb_monitor_latest(monitor, NB_MONITOR_SLOPE, "h")->of.deviation;
        ck_assert_double_gt(mean[k], 0);
        ck_assert_double_eq(mean[k], mean[0]);
        nb_monitor_free(monitor);
        free_learned(&l);
    }
    nb_dataset_free(d);
}
END_TEST

/* ---- what is not finite ---------------------------------------------------------------------- */

/* log of a number that steps of 0.25 take from 1 below 0: the fifth has no logarithm. */
static nb_var falling(void *context, const nb_pass *m, nb_var x)
{
    return nb_add(nb_mul(0, x), nb_name(nb_log(nb_pass_var(m, *(nb_param *)context)), "level"));
}
static nb_var sum_of(void *context, const nb_pass *m, nb_var y, const nb_dataset *b)
{
    (void)b;
    return nb_add(nb_mul(0, nb_sum(y)),
                  nb_add(nb_pass_var(m, *(nb_param *)context), nb_mul(0, nb_mean(y))));
}

START_TEST(not_finite)
{
    small m;
    nb_reason why = {""};
    nb_fit_result r;
    double x = 1;
    make_small(&m, 0.25);
    nb_params_write(m.p, m.x, &x, 1);
    m.s.learner.model = falling;
    m.s.learner.loss = sum_of;
    m.s.valid = NULL;
    said(nb_fit(&m.s, &r, &why), NB_ERR_ANOMALY, &why, "step 5 (epoch 5, batch 1)");
    ck_assert_msg(strstr(why.text, "log") != NULL, "%s", why.text);
    nb_params_read(m.p, m.x, &x, 1);
    ck_assert_double_eq(x, 0);
    ck_assert_int_eq(r.steps, 4);
    ck_assert_int_eq(r.epochs, 4);
    nb_fit_result_free(&r);
    free_small(&m);
}
END_TEST

/* The loss is finite, its gradient is not: sqrt at 0. */
static nb_var root(void *context, const nb_pass *m, nb_var x)
{
    return nb_add(nb_mul(0, x), nb_sqrt(nb_pass_var(m, *(nb_param *)context)));
}

START_TEST(gradient_not_finite)
{
    small m;
    nb_reason why = {""};
    make_small(&m, 0.25);
    m.s.learner.model = root;
    said(nb_fit(&m.s, NULL, &why), NB_ERR_ANOMALY, &why, "step 1 (epoch 1, batch 1)");
    ck_assert_msg(strstr(why.text, "sqrt") != NULL, "%s", why.text);
    free_small(&m);
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("fit_course");
    tcase_set_timeout(c, 60);
    tcase_add_test(c, patience);
    tcase_add_test(c, small_falls);
    tcase_add_test(c, rates);
    tcase_add_test(c, callbacks);
    tcase_add_test(c, held_out);
    tcase_add_test(c, log_lines);
    tcase_add_test(c, monitors);
    tcase_add_test(c, not_finite);
    tcase_add_test(c, gradient_not_finite);
    return run_case("fit_course", c);
}
