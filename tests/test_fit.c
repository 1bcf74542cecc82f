/*
 * Fits: the same as the loop by hand, the same in parts and on threads; judging, stopping, rates.
 */
#include "fit.h"

static void run(const nb_fit_spec *s, nb_fit_result *r)
{
    nb_reason why = {""};
    fine(nb_fit(s, r, &why), &why);
}

/* ---- against the loop by hand ---------------------------------------------------------------- */

static void by_hand(learned *l, const nb_dataset *d, int epochs, double *loss)
{
    nb_tape *t = nb_tape_new(&(nb_options){.dtype = d->dtype});
    nb_mark start = nb_tape_mark(t);
    nb_batches *batches;
    const nb_dataset *b;
    nb_batches_new(d, &(nb_batch_options){.size = 16, .shuffle = true, .seed = 5}, &batches, NULL);
    for (int epoch = 0; epoch < epochs; epoch++) {
        *loss = 0;
        while (!nb_batches_next(batches, &b, NULL) && b) {
            nb_pass m = nb_training_pass(l->p, t, NULL);
            nb_var x = nb_borrow_constant(t, NB_SHAPE(b->rows, 2), b->x);
            nb_var f = nb_cross_entropy(net(l, &m, x), b->rows, b->label, NULL);
            *loss += nb_value(f) * (double)b->rows / (double)d->rows;
            ck_assert_int_eq(nb_backward(f), NB_OK);
            ck_assert_int_eq(nb_optim_step(l->o, NULL), NB_OK);
            nb_rewind(start);
        }
    }
    nb_batches_free(batches);
    nb_tape_free(t);
}

START_TEST(as_by_hand)
{
    learned a, b;
    nb_fit_result r;
    double loss;
    nb_dataset *d = blobs((nb_dtype)_i, 75, 1, NULL); /* the last batch has 11 rows */
    make_learned(&a, (nb_dtype)_i, true, NULL);
    make_learned(&b, (nb_dtype)_i, true, NULL);
    const nb_fit_spec s = spec_of(&a, d, NULL);
    run(&s, &r);
    by_hand(&b, d, 4, &loss);
    ck_assert(same_model(&a, &b));
    ck_assert_int_eq(r.steps, 4 * 5);
    ck_assert_int_eq(r.epochs, 4);
    ck_assert_int_eq(r.end, NB_FIT_EPOCHS);
    ck_assert_double_eq_tol(r.history[3].loss, loss, 1e-12);
    ck_assert(isnan(r.history[3].valid_loss));
    ck_assert_double_lt(r.history[3].loss, r.history[0].loss);
    nb_fit_result_free(&r);
    free_learned(&a);
    free_learned(&b);
    nb_dataset_free(d);
}
END_TEST

/* ---- parts and threads ----------------------------------------------------------------------- */

/* A step on 16 rows at once, and in parts of 6, 5 and 5. */
START_TEST(parts_add_up)
{
    learned a, b;
    nb_fit_result r, q;
    nb_dataset *d = blobs(NB_F64, 16, 1, NULL);
    make_learned(&a, NB_F64, true, NULL);
    make_learned(&b, NB_F64, true, NULL);
    nb_fit_spec s = spec_of(&a, d, NULL), t = spec_of(&b, d, NULL);
    s.epochs = t.epochs = 1;
    t.micro = 7;
    run(&s, &r);
    run(&t, &q);
    ck_assert_double_eq_tol(r.history[0].loss, q.history[0].loss, 1e-14);
    ck_assert_double_eq(r.history[0].metric[0], q.history[0].metric[0]);
    const double *g = nb_params_grads(a.p), *h = nb_params_grads(b.p);
    for (int64_t i = 0; i < nb_params_size(a.p); i++)
        ck_assert_double_eq_tol(g[i], h[i], 1e-14);
    nb_fit_result_free(&r);
    nb_fit_result_free(&q);
    free_learned(&a);
    free_learned(&b);
    nb_dataset_free(d);
}
END_TEST

/* Batch norm, dropout, an average, a validation set: any number of threads, the same bits. */
START_TEST(threads_leave_no_trace)
{
    const nb_dtype d = (nb_dtype)(_i % 2);
    const int64_t micro = _i < 2 ? 5 : 0;
    nb_dataset *train = blobs(d, 75, 1, NULL), *valid = blobs(d, 700, 2, NULL);
    learned one, many;
    nb_fit_result r, q;
    make_learned(&one, d, false, NULL);
    nb_fit_spec s = spec_of(&one, train, valid);
    s.micro = micro;
    s.average = one.average;
    s.clip_norm = 0.5;
    run(&s, &r);
    for (int threads = 2; threads < 6; threads++) {
        make_learned(&many, d, false, NULL);
        s.learner.params = many.p;
        s.learner.context = &many;
        s.optim = many.o;
        s.average = many.average;
        s.threads = threads;
        run(&s, &q);
        ck_assert(same_model(&one, &many));
        ck_assert(same_history(&r, &q));
        nb_fit_result_free(&q);
        free_learned(&many);
    }
    nb_fit_result_free(&r);
    free_learned(&one);
    nb_dataset_free(train);
    nb_dataset_free(valid);
}
END_TEST

/* The running mean of a part's mean, weighted by rows, is that of the whole batch: parts of 3, 2 and 2
 * rows: x is 1 … 7. */
static nb_var only_norm(void *context, const nb_pass *m, nb_var x)
{
    return nb_batch_norm_apply(context, m, x);
}

START_TEST(statistics_of_parts)
{
    const double x[7] = {1, 2, 3, 4, 5, 6, 7}, y[7] = {0};
    const nb_dataset d = {.rows = 7, .columns = 1, .x = x, .targets = 1, .y = y};
    nb_params *p = nb_params_new(NULL);
    nb_batch_norm_layer norm = nb_batch_norm_new(p, "norm", 1);
    nb_optim *o =
        nb_optim_new(p, &(nb_optim_options){.rule = nb_update_of(NB_SGD), .rate = 1e-3}, NULL);
    nb_fit_spec s = {.learner = {.params = p, .model = only_norm, .context = &norm},
                     .train = &d,
                     .batch = 7,
                     .micro = 3,
                     .optim = o,
                     .epochs = 1};
    run(&s, NULL);
    ck_assert_double_eq_tol(nb_params_statistics(p)[norm.mean], 0.1 * 4, 1e-14);
    nb_optim_free(o);
    nb_params_free(p);
}
END_TEST

/* ---- judging --------------------------------------------------------------------------------- */

/* y = w x, with x 1 … rows and targets 2 x but for the last. */
static nb_var line(void *context, const nb_pass *m, nb_var x)
{
    return nb_mul(x, nb_pass_var(m, *(nb_param *)context));
}

START_TEST(judges)
{
    enum { ROWS = 2500 };
    static double x[ROWS], y[ROWS], out[ROWS];
    double loss, metric[NB_METRICS], expected = 0, mean = 0, spread = 0, w = 1.5;
    for (int i = 0; i < ROWS; i++) {
        x[i] = 0.01 * i;
        y[i] = 2 * x[i] + (i == ROWS - 1);
        expected += (y[i] - w * x[i]) * (y[i] - w * x[i]) / ROWS;
        mean += y[i] / ROWS;
    }
    for (int i = 0; i < ROWS; i++)
        spread += (y[i] - mean) * (y[i] - mean) / ROWS;
    nb_reason why = {""};
    nb_dataset d = {.rows = ROWS, .columns = 1, .x = x, .targets = 1, .y = y};
    nb_params *p = nb_params_new(NULL);
    nb_param slope = nb_params_add(p, "w", NB_POINT, NULL, NULL);
    nb_params_write(p, slope, &w, 1);
    const nb_learner l = {.params = p, .model = line, .context = &slope};
    fine(nb_evaluate(&l, &d, &loss, metric, &why), &why);
    ck_assert_double_eq_tol(loss, expected, 1e-12 * expected);
    ck_assert_double_eq_tol(metric[0], 1 - expected / spread, 1e-12);
    fine(nb_evaluate(&l, &d, &loss, NULL, &why), &why);
    d.y = NULL;
    d.targets = 0; /* nothing to compare with: outputs all the same */
    fine(nb_outputs(&l, &d, 1, out, &why), &why);
    for (int i = 0; i < ROWS; i++)
        ck_assert_double_eq(out[i], 1.5 * x[i]);
    said(nb_outputs(&l, &d, 2, out, &why), NB_ERR_SHAPE, &why, "1 numbers of a row, where 2");
    said(nb_evaluate(&l, &d, &loss, NULL, &why), NB_ERR_ARGUMENT, &why, "neither labels nor");
    x[7] = (double)NAN;
    said(nb_outputs(&l, &d, 1, out, &why), NB_ERR_ANOMALY, &why, "row 8");
    nb_params_free(p);
}
END_TEST

static nb_code third(void *context, const nb_dataset *d, int64_t width, const void *y, double *out,
                     nb_reason *why)
{
    (void)context, (void)why;
    *out = (double)(d->rows * 1000 + width * 10) + (y != NULL);
    return NB_OK;
}

/* The user's metric sees each batch, and the validation data whole; preprocessing goes before all. */
START_TEST(metrics_and_preprocessing)
{
    nb_dataset *train = blobs(NB_F64, 32, 1, NULL), *valid = blobs(NB_F64, 1100, 1, NULL);
    const nb_prep_step steps[] = {{NB_PREP_STANDARDISE, 0}};
    nb_prep *prep = NULL;
    learned a, b;
    nb_fit_result r, q;
    make_learned(&a, NB_F64, true, NULL);
    make_learned(&b, NB_F64, true, NULL);
    nb_prep_fit(train, 1, steps, &prep, NULL);
    nb_fit_spec s = spec_of(&a, train, valid);
    s.learner.metric = &(nb_metric){"third", third};
    s.learner.metrics = 1;
    s.learner.prep = prep;
    run(&s, &r);
    ck_assert_double_eq(r.history[0].metric[0], 16031);
    ck_assert_double_eq(r.history[0].valid_metric[0], 1100031);
    nb_dataset *ready, *too;
    nb_prep_apply(prep, train, &ready, NULL);
    nb_prep_apply(prep, valid, &too, NULL);
    s = spec_of(&b, ready, too);
    run(&s, &q);
    ck_assert(same_model(&a, &b));
    ck_assert_double_eq(r.history[3].valid_loss, q.history[3].valid_loss);
    nb_fit_result_free(&r);
    nb_fit_result_free(&q);
    free_learned(&a);
    free_learned(&b);
    nb_prep_free(prep);
    nb_dataset_free(ready);
    nb_dataset_free(too);
    nb_dataset_free(train);
    nb_dataset_free(valid);
}
END_TEST

/* Four rows, scores of three classes: right, right, wrong (1 for 0), wrong (0 for 2). */
static nb_metric metric(const char *name, nb_metric_fn *f) { return (nb_metric){name, f}; }

START_TEST(ready_made_metrics)
{
    const double y[12] = {3, 1, 0, 0, 2, 1, 1, 4, 0, 5, 0, 2}, two[8] = {1, 0, 0, 3, 2, 1, 0, 2};
    const double one[4] = {-1, 3, 0.5, -2}, nan[4] = {-1, (double)NAN, 1, 2};
    const int64_t label[4] = {0, 1, 0, 2}, half[4] = {0, 1, 1, 0};
    nb_dataset d = {.rows = 4, .columns = 1, .label = label, .classes = 3}, b = d;
    double out;
    nb_reason why = {""};
    b.label = half;
    b.classes = 2;
    fine(nb_metric_accuracy(NULL, &d, 3, y, &out, &why), &why);
    ck_assert_double_eq(out, 0.5);
    fine(nb_metric_top_5(NULL, &d, 3, y, &out, &why), &why);
    ck_assert_double_eq(out, 1);
    fine(nb_metric_precision(NULL, &d, 3, y, &out, &why), &why); /* 1/2, 1/2, 0 of none */
    ck_assert_double_eq_tol(out, 1.0 / 3, 1e-15);
    fine(nb_metric_recall(NULL, &d, 3, y, &out, &why), &why); /* 1/2, 1, 0 */
    ck_assert_double_eq_tol(out, 0.5, 1e-15);
    fine(nb_metric_f1(NULL, &d, 3, y, &out, &why), &why); /* 1/2, 2/3, 0 */
    ck_assert_double_eq_tol(out, 7.0 / 18, 1e-15);
    fine(nb_metric_auc(NULL, &b, 2, two, &out, &why), &why); /* 1: 3, -1; 0: -1, 2 */
    ck_assert_double_eq(out, (1 + 1 + 0.5 + 0) / 4);
    fine(nb_metric_auc(NULL, &b, 1, one, &out, &why), &why);
    ck_assert_double_eq(out, 1);
    fine(nb_metric_accuracy(NULL, &b, 1, one, &out, &why), &why);
    ck_assert_double_eq(out, 1);
    fine(nb_metric_auc(NULL, &b, 1, nan, &out, &why), &why);
    ck_assert(isnan(out));
    fine(nb_metric_f1(NULL, &b, 1, nan, &out, &why), &why);
    ck_assert(isnan(out));
    fine(nb_metric_accuracy(NULL, &b, 1, nan, &out, &why), &why); /* NaN is never right */
    ck_assert_double_eq(out, 0.5);
    b.label = (const int64_t[]){1, 1, 1, 1};
    fine(nb_metric_auc(NULL, &b, 1, one, &out, &why), &why);
    ck_assert(isnan(out));
    said(nb_metric_auc(NULL, &d, 3, y, &out, &why), NB_ERR_SHAPE, &why, "not of 3");
    said(nb_metric_r2(NULL, &d, 3, y, &out, &why), NB_ERR_SHAPE, &why, "0 targets");
    d.label = NULL;
    said(nb_metric_f1(NULL, &d, 3, y, &out, &why), NB_ERR_ARGUMENT, &why, "no labels");
    d.y = one;
    d.targets = 1;
    fine(nb_metric_r2(NULL, &d, 1, one, &out, &why), &why);
    ck_assert_double_eq(out, 1);
}
END_TEST

/* Several at once, each with its name in the log and its place in the history. */
START_TEST(several_metrics)
{
    const nb_metric list[] = {metric("accuracy", nb_metric_accuracy), metric("F1", nb_metric_f1),
                              metric("rows", third)};
    char line[1000];
    learned l;
    nb_fit_result r;
    FILE *log = tmpfile();
    nb_dataset *d = blobs(NB_F32, 64, 1, NULL), *v = blobs(NB_F32, 90, 2, NULL);
    make_learned(&l, NB_F32, true, NULL);
    nb_fit_spec s = spec_of(&l, d, v);
    s.learner.metric = list;
    s.learner.metrics = 3;
    s.log = log;
    run(&s, &r);
    for (int64_t k = 0; k < r.epochs; k++) {
        const nb_fit_epoch *e = &r.history[k];
        ck_assert(e->metric[0] > 0 && e->metric[0] <= 1 && e->metric[1] > 0 && e->metric[1] <= 1);
        ck_assert_double_eq(e->metric[2], 16031);
        ck_assert_double_eq(e->valid_metric[2], 90031);
        ck_assert(isnan(e->metric[3]) && isnan(e->valid_metric[NB_METRICS - 1]));
    }
    rewind(log);
    ck_assert(fgets(line, sizeof line, log) && strstr(line, "  F1 0.") &&
              strstr(line, "  valid rows 9.003e+04"));
    fclose(log);
    nb_fit_result_free(&r);
    free_learned(&l);
    nb_dataset_free(d);
    nb_dataset_free(v);
}
END_TEST

/* A number for batches of even rows only: the mean is of these. */
static nb_code even(void *context, const nb_dataset *d, int64_t width, const void *y, double *out,
                    nb_reason *why)
{
    (void)context, (void)width, (void)y, (void)why;
    *out = d->rows % 2 ? (double)NAN : (double)d->rows;
    return NB_OK;
}

START_TEST(metrics_of_some_batches)
{
    learned l;
    nb_fit_result r;
    nb_dataset *d = blobs(NB_F64, 49, 1, NULL);
    make_learned(&l, NB_F64, true, NULL);
    nb_fit_spec s = spec_of(&l, d, NULL);
    s.learner.metric = &(nb_metric){"even", even};
    s.learner.metrics = 1;
    run(&s, &r);
    ck_assert_double_eq(r.history[3].metric[0], 16);
    nb_fit_result_free(&r);
    s.batch = 7;
    run(&s, &r);
    ck_assert(isnan(r.history[3].metric[0]) && isfinite(r.history[3].loss));
    nb_fit_result_free(&r);
    free_learned(&l);
    nb_dataset_free(d);
}
END_TEST

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
    run(&m.s, &r);
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
    run(&m.s, &r);
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
    run(&m.s, &r);
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
    run(&m.s, &r); /* best in epoch 3; 4 is the one bad one allowed, 5 another */
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
    run(&s, &r);
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
    run(&s, &r);
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
    run(&s, &r);
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
    run(&s, NULL);
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
        run(&s, NULL);
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

/* ---- memory ---------------------------------------------------------------------------------- */

static counting counts;
static size_t calls_then;
static nb_code count_calls(void *context, const nb_fit_step *s)
{
    (void)context;
    if (s->step == 10)
        calls_then = counts.calls;
    return s->step > 10 && counts.calls != calls_then ? NB_ERR_LAW : NB_OK;
}

/* After the first epoch no step asks for memory, in parts or whole. */
START_TEST(steps_take_no_memory)
{
    const nb_allocator a = counting_allocator(&counts);
    learned l;
    nb_reason why = {""};
    nb_dataset *d = blobs(NB_F32, 128, 1, &a);
    make_learned(&l, NB_F32, false, &a);
    nb_fit_spec s = spec_of(&l, d, NULL);
    s.micro = _i ? 5 : 0;
    s.on_step = count_calls;
    s.allocator = &a;
    s.epochs = 2; /* of 8 steps */
    s.clip_value = 1;
    s.average = l.average;
    fine(nb_fit(&s, NULL, &why), &why);
    free_learned(&l);
    nb_dataset_free(d);
    ck_assert_uint_eq(counts.blocks, 0);
}
END_TEST

START_TEST(refused_memory)
{
    nb_dataset *d = blobs(NB_F64, 40, 1, NULL), *valid = blobs(NB_F64, 40, 2, NULL);
    size_t failures = 0;
    bool done = false;
    for (size_t k = 1; !done; k++) {
        learned l;
        nb_reason why = {""};
        nb_fit_result r;
        counting c = {0};
        const nb_allocator a = counting_allocator(&c);
        d->allocator = valid->allocator = &a;
        make_learned(&l, NB_F64, false, NULL);
        nb_fit_spec s = spec_of(&l, d, valid);
        s.allocator = &a;
        s.micro = 7;
        s.epochs = 2;
        c.refuse = k;
        const nb_code code = nb_fit(&s, &r, &why);
        done =
            !c.refusals; /* an arena that is refused a large chunk is content with a smaller one */
        ck_assert_msg(code == NB_OK || (!done && code == NB_ERR_MEMORY), "%zu: %s: %s", k,
                      nb_code_name(code), why.text);
        ck_assert(code == NB_OK || why.text[0]);
        failures += code != NB_OK;
        nb_fit_result_free(&r);
        ck_assert_uint_eq(c.blocks, 0);
        free_learned(&l);
    }
    ck_assert_uint_gt(failures, 20);
    d->allocator = valid->allocator = NULL;
    nb_dataset_free(d);
    nb_dataset_free(valid);
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("fit");
    tcase_set_timeout(c, 60);
    tcase_add_loop_test(c, as_by_hand, 0, 2);
    tcase_add_test(c, parts_add_up);
    tcase_add_loop_test(c, threads_leave_no_trace, 0, 4);
    tcase_add_test(c, statistics_of_parts);
    tcase_add_test(c, judges);
    tcase_add_test(c, metrics_and_preprocessing);
    tcase_add_test(c, patience);
    tcase_add_test(c, small_falls);
    tcase_add_test(c, rates);
    tcase_add_test(c, ready_made_metrics);
    tcase_add_test(c, several_metrics);
    tcase_add_test(c, metrics_of_some_batches);
    tcase_add_test(c, callbacks);
    tcase_add_test(c, held_out);
    tcase_add_test(c, log_lines);
    tcase_add_test(c, monitors);
    tcase_add_test(c, not_finite);
    tcase_add_test(c, gradient_not_finite);
    tcase_add_loop_test(c, steps_take_no_memory, 0, 2);
    tcase_add_test(c, refused_memory);
    return run_case("fit", c);
}
