/*
 * Fits: what is refused, mostly before any work, and with which words; what models, losses and metrics may get
 * wrong.
 */
#include "fit.h"

static void refuse(nb_fit_spec *s, nb_code expected, const char *part)
{
    nb_reason why = {""};
    nb_fit_result r;
    said(nb_fit(s, &r, &why), expected, &why, part);
    ck_assert_int_eq(r.end, NB_FIT_FAILED);
    ck_assert_ptr_null(r.history);
    nb_fit_result_free(&r);
}

/* Twice 16 rows and one more, from which alone batch norm cannot learn. The schedule counts what is left. */
START_TEST(short_batches)
{
    learned l;
    nb_reason why = {""};
    nb_fit_result r;
    nb_dataset *d = blobs(NB_F64, 33, 1, NULL);
    make_learned(&l, NB_F64, false, NULL);
    nb_fit_spec s = spec_of(&l, d, NULL);
    refuse(&s, NB_ERR_EMPTY, "step 3 (epoch 1, batch 3): batch_norm");
    free_learned(&l);
    make_learned(&l, NB_F64, false, NULL);
    s = spec_of(&l, d, NULL);
    s.drop_last = true;
    s.schedule = (nb_schedule){.kind = NB_LINEAR, .rate = 0.08};
    fine(nb_fit(&s, &r, &why), &why);
    ck_assert_int_eq(r.steps, 8);
    ck_assert_double_eq_tol(r.history[3].rate, 0.01, 1e-15);
    ck_assert_double_eq(nb_optim_rate(l.o), 0.02);
    nb_fit_result_free(&r);
    s.batch = 34;
    refuse(&s, NB_ERR_EMPTY, "");
    free_learned(&l);
    nb_dataset_free(d);
}
END_TEST

START_TEST(refusals)
{
    learned l, other;
    nb_dataset *d = blobs(NB_F64, 30, 1, NULL), *f = blobs(NB_F32, 30, 1, NULL);
    nb_dataset empty = *d, bare = *d, broken = *d, far = *d;
    nb_plateau plateau = {.rate = 0.1};
    double x[60];
    int64_t label[30];
    empty.rows = 0;
    bare.label = NULL;
    memcpy(x, d->x, sizeof x);
    memcpy(label, d->label, sizeof label);
    x[13] = (double)INFINITY;
    label[3] = 3;
    broken.x = x;
    far.label = label;
    make_learned(&l, NB_F64, false, NULL);
    make_learned(&other, NB_F64, false, NULL);
    nb_monitor *watcher = nb_monitor_new(other.p, NULL, NULL);
    const nb_fit_spec s = spec_of(&l, d, NULL);
#define REFUSE(code, part, ...) \
    do {                        \
        nb_fit_spec b = s;      \
        __VA_ARGS__;            \
        refuse(&b, code, part); \
    } while (0)
    REFUSE(NB_ERR_ARGUMENT, "no optimizer", b.optim = NULL);
    REFUSE(NB_ERR_ARGUMENT, "the optimizer is not that of", b.optim = other.o);
    REFUSE(NB_ERR_ARGUMENT, "the average is not that of", b.average = other.average);
    REFUSE(NB_ERR_ARGUMENT, "the monitor is not that of", b.monitor = watcher);
    REFUSE(NB_ERR_ARGUMENT, "is neither", b.train = NULL);
    REFUSE(NB_ERR_ARGUMENT, "without parameters", b.learner.params = NULL);
    REFUSE(NB_ERR_ARGUMENT, "without a model", b.learner.model = NULL);
    REFUSE(NB_ERR_ARGUMENT, "7 metrics, of 6 at most", b.learner.metrics = 7);
    REFUSE(NB_ERR_ARGUMENT, "no list of them", b.learner.metrics = 1);
    REFUSE(NB_ERR_ARGUMENT, "metric 1 has no function", b.learner.metrics = 1,
           b.learner.metric = &(nb_metric){"none", NULL});
    REFUSE(NB_ERR_ARGUMENT, "0 epochs", b.epochs = 0);
    REFUSE(NB_ERR_ARGUMENT, "batch -1", b.batch = -1);
    REFUSE(NB_ERR_ARGUMENT, "-2 threads", b.threads = -2);
    REFUSE(NB_ERR_ARGUMENT, "share is 1", b.valid_share = 1);
    REFUSE(NB_ERR_ARGUMENT, "share is -0.5", b.valid_share = -0.5);
    REFUSE(NB_ERR_ARGUMENT, "there are validation data", b.valid_share = 0.5, b.valid = d);
    REFUSE(NB_ERR_ARGUMENT, "clip_norm -1", b.clip_norm = -1);
    REFUSE(NB_ERR_ARGUMENT, "one master", b.plateau = &plateau, b.schedule.rate = 1);
    REFUSE(NB_ERR_ARGUMENT, "rate is 0", b.schedule.kind = NB_COSINE);
    plateau.factor = 2;
    REFUSE(NB_ERR_ARGUMENT, "factor 2", b.plateau = &plateau);
    plateau.rate = -1;
    REFUSE(NB_ERR_ARGUMENT, "rate is -1", b.plateau = &plateau);
    REFUSE(NB_ERR_FILE, "no folder", b.best = "/no folder/best");
    REFUSE(NB_ERR_FILE, "not a regular file", b.last = "/");
    REFUSE(NB_ERR_ARGUMENT, "resume from", b.resume = true);
    REFUSE(NB_ERR_ARGUMENT, "are double, the data float", b.train = f);
    REFUSE(NB_ERR_ARGUMENT, "are double, the data float", b.valid = f);
    REFUSE(NB_ERR_EMPTY, "training data", b.train = &empty);
    REFUSE(NB_ERR_EMPTY, "validation data", b.valid = &empty);
    REFUSE(NB_ERR_ARGUMENT, "neither labels nor targets", b.train = &bare);
    REFUSE(NB_ERR_ANOMALY, "row 7, column 2", b.train = &broken);
    REFUSE(NB_ERR_INDEX, "row 4", b.train = &far);
    refuse(NULL, NB_ERR_ARGUMENT, "no spec");
    nb_average_tell(l.average, NULL);
    nb_average_swap(l.average, NULL);
    REFUSE(NB_ERR_ARGUMENT, "swap the average back", b.average = l.average);
    nb_params *p = nb_params_new(NULL);
    nb_params_add(p, "prep/x", NB_POINT, NULL, NULL);
    nb_optim *o =
        nb_optim_new(p, &(nb_optim_options){.rule = nb_update_of(NB_SGD), .rate = 1}, NULL);
    REFUSE(NB_ERR_ARGUMENT, "a name that the file keeps for others", b.learner.params = p,
           b.optim = o, b.best = "/best");
    nb_optim_free(o);
    nb_params_free(p);
    ck_assert_int_eq(nb_optim_steps(l.o) + nb_optim_steps(other.o), 0);
    nb_monitor_free(watcher);
    free_learned(&other);
    free_learned(&l);
    nb_dataset_free(d);
    nb_dataset_free(f);
}
END_TEST

/* Errors of models reach the reason: shapes that do not fit, a result of another tape. */
static nb_var misfit(void *context, const nb_pass *m, nb_var x)
{
    return nb_matmul(x, nb_pass_var(m, ((learned *)context)->out.w));
}
static nb_var stranger(void *context, const nb_pass *m, nb_var x)
{
    (void)context, (void)m, (void)x;
    return nb_num(1);
}
static nb_var no_loss(void *context, const nb_pass *m, nb_var y, const nb_dataset *b)
{
    (void)context, (void)m, (void)b;
    return y;
}

static nb_var off_tape(void *context, const nb_pass *m, nb_var y, const nb_dataset *b)
{
    (void)context, (void)m, (void)y, (void)b;
    return nb_num(1);
}
static nb_code no_metric(void *context, const nb_dataset *d, int64_t width, const void *y,
                         double *out, nb_reason *why)
{
    (void)context, (void)d, (void)width, (void)y, (void)out, (void)why;
    return NB_ERR_DOMAIN;
}

START_TEST(broken_models)
{
    learned l;
    nb_dataset *d = blobs(NB_F64, 30, 1, NULL);
    make_learned(&l, NB_F64, false, NULL);
    nb_fit_spec s = spec_of(&l, d, NULL);
    s.learner.model = misfit;
    refuse(&s, NB_ERR_SHAPE, "step 1 (epoch 1, batch 1): matmul: inner dimensions differ");
    s.learner.model = stranger;
    s.learner.loss = NULL;
    nb_reason why = {""};
    ck_assert_int_ne(nb_fit(&s, NULL, &why), NB_OK);
    s.learner.model = net;
    s.learner.loss = no_loss;
    ck_assert_int_ne(nb_fit(&s, NULL, &why), NB_OK);
    s.learner.loss = off_tape;
    refuse(&s, NB_ERR_ARGUMENT, "batch 1): the loss is not on its pass' tape");
    s.learner.loss = NULL;
    s.learner.metric = &(nb_metric){"none", no_metric};
    s.learner.metrics = 1;
    refuse(&s, NB_ERR_DOMAIN, nb_code_text(NB_ERR_DOMAIN));
    ck_assert_int_eq(nb_optim_steps(l.o), 0);
    s.learner.metrics = 0;
    s.epochs = 1;
    nb_dataset wide = *d;
    wide.rows /= 2;
    wide.columns *= 2;
    wide.shape = (nb_shape){0};
    s.valid = &wide;
    said(nb_fit(&s, NULL, &why), NB_ERR_SHAPE, &why, "fit: epoch 1, validation data: ");
    free_learned(&l);
    nb_dataset_free(d);
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("fit_refusals");
    tcase_set_timeout(c, 60);
    tcase_add_test(c, short_batches);
    tcase_add_test(c, refusals);
    tcase_add_test(c, broken_models);
    return run_case("fit_refusals", c);
}
