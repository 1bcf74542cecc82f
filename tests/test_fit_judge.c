/*
 * Learners judged: loss, metrics and outputs of data sets, and what a fit says of them.
 */
#include "fit.h"

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
    run_fit(&s, &r);
    ck_assert_double_eq(r.history[0].metric[0], 16031);
    ck_assert_double_eq(r.history[0].valid_metric[0], 1100031);
    nb_dataset *ready, *too;
    nb_prep_apply(prep, train, &ready, NULL);
    nb_prep_apply(prep, valid, &too, NULL);
    s = spec_of(&b, ready, too);
    run_fit(&s, &q);
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
    run_fit(&s, &r);
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
    run_fit(&s, &r);
    ck_assert_double_eq(r.history[3].metric[0], 16);
    nb_fit_result_free(&r);
    s.batch = 7;
    run_fit(&s, &r);
    ck_assert(isnan(r.history[3].metric[0]) && isfinite(r.history[3].loss));
    nb_fit_result_free(&r);
    free_learned(&l);
    nb_dataset_free(d);
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("fit_judge");
    tcase_set_timeout(c, 60);
    tcase_add_test(c, judges);
    tcase_add_test(c, metrics_and_preprocessing);
    tcase_add_test(c, ready_made_metrics);
    tcase_add_test(c, several_metrics);
    tcase_add_test(c, metrics_of_some_batches);
    return run_case("fit_judge", c);
}
