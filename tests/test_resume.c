/*
 * Fits that are interrupted: by a signal, a kill in the midst of it, a full disk; and that go on, to the
 * same bits as if nothing had happened.
 */
#include "fit.h"
#include "folder.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static nb_dataset *train, *valid;
static nb_prep *prep;

/* Two kinds of fit between them use all that has to be remembered. */
static nb_fit_spec spec_for(learned *l, int kind)
{
    nb_fit_spec s = spec_of(l, train, valid);
    s.last = path("last");
    s.best = path("best");
    s.save_every = 3;
    s.resume = true;
    s.learner.prep = prep;
    if (kind == 0) {
        s.average = l->average;
        s.schedule = (nb_schedule){.kind = NB_COSINE, .rate = 0.03, .warm_up = 4};
    } else {
        s.plateau = &l->plateau;
        s.micro = 5;
        s.threads = 2;
        s.valid = NULL;
        s.valid_share = 0.25;
        s.patience = 3;
    }
    return s;
}

static void make(learned *l) { make_learned(l, NB_F32, false, NULL); }

/* a and b have come to the same; they are freed. */
static void as_one(learned *a, learned *b, nb_fit_result *r, nb_fit_result *q)
{
    ck_assert(same_model(a, b));
    ck_assert(same_history(r, q));
    nb_fit_result_free(r);
    nb_fit_result_free(q);
    free_learned(a);
    free_learned(b);
}

static nb_code kill_at(void *context, const nb_fit_step *s)
{
    const learned *l = context;
    if (s->step == l->stop_at)
        raise(l->signal);
    return NB_OK;
}

/* Never interrupted; its files are gone afterwards. */
static void whole(learned *l, int kind, nb_fit_result *r)
{
    nb_reason why = {""};
    make(l);
    nb_fit_spec s = spec_for(l, kind);
    fine(nb_fit(&s, r, &why), &why);
    unlink(path("last"));
    unlink(path("best"));
}

static void killed(int kind, int64_t at)
{
    const pid_t child = fork();
    if (!child) {
        learned l;
        make(&l);
        nb_fit_spec s = spec_for(&l, kind);
        l.stop_at = at;
        l.signal = SIGKILL;
        s.on_step = kill_at;
        nb_fit(&s, NULL, NULL);
        _exit(0);
    }
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

/* Killed three times on the way, at steps that are just saved, about to be, at the end of an epoch. */
START_TEST(kills)
{
    static const int64_t at[][3] = {{1, 3, 4}, {2, 7, 11}, {5, 10, 15}, {14, 15, 16}};
    learned a, b;
    nb_fit_result r, q;
    nb_reason why = {""};
    const int kind = _i / 4;
    make_folder();
    whole(&a, kind, &r);
    for (int k = 0; k < 3; k++)
        killed(kind, at[_i % 4][k]);
    make(&b);
    nb_fit_spec s = spec_for(&b, kind);
    fine(nb_fit(&s, &q, &why), &why);
    ck_assert(same_model(&a, &b));
    ck_assert(same_history(&r, &q));
    ck_assert_int_eq(a.plateau.told, b.plateau.told);
    ck_assert_double_eq(a.plateau.rate, b.plateau.rate);
    nb_fit_result_free(&q);
    free_learned(&b);
    make(&b); /* once more, with nothing left to do */
    s = spec_for(&b, kind);
    fine(nb_fit(&s, &q, &why), &why);
    as_one(&a, &b, &r, &q);
    remove_folder();
}
END_TEST

static volatile sig_atomic_t caught;
static void catch_it(int number) { caught = number; }

/* A signal ends the fit after the step, is taken, and leaves the mask and the handlers as they were. */
START_TEST(signals)
{
    learned a, b;
    nb_fit_result r, q;
    nb_reason why = {""};
    make_folder();
    whole(&a, 0, &r);
    make(&b);
    nb_fit_spec s = spec_for(&b, 0);
    s.interruptible = true;
    s.on_step = kill_at;
    b.stop_at = 7;
    b.signal = _i ? SIGTERM : SIGINT;
    fine(nb_fit(&s, &q, &why), &why);
    ck_assert_int_eq(q.end, NB_FIT_INTERRUPTED);
    ck_assert_int_eq(q.steps, 7);
    ck_assert_int_eq(q.epochs, 1);
    nb_fit_result_free(&q);
    signal(b.signal, catch_it);
    raise(b.signal);
    ck_assert_int_eq(caught, b.signal);
    free_learned(&b);
    make(&b);
    s = spec_for(&b, 0);
    fine(nb_fit(&s, &q, &why), &why);
    as_one(&a, &b, &r, &q);
    remove_folder();
}
END_TEST

static nb_code signal_at(void *context, const nb_fit_epoch *e)
{
    const learned *l = context;
    if (e->epoch == l->stop_at)
        raise(SIGINT);
    return NB_OK;
}

START_TEST(ignored_signals)
{
    learned l;
    nb_fit_result r;
    nb_reason why = {""};
    make_folder();
    make(&l);
    nb_fit_spec s = spec_for(&l, 0);
    s.interruptible = true;
    s.on_epoch = signal_at;
    l.stop_at = 2;
    signal(SIGINT, SIG_IGN);
    fine(nb_fit(&s, &r, &why), &why);
    ck_assert_int_eq(r.end, NB_FIT_EPOCHS);
    nb_fit_result_free(&r);
    free_learned(&l);
    remove_folder();
}
END_TEST

/* One that comes while an epoch is judged ends the fit there and then, also after the last epoch, where it
 * would else end the program. */
START_TEST(signals_between_epochs)
{
    learned l;
    nb_fit_result r;
    nb_reason why = {""};
    for (int64_t at = 2; at <= 4; at += 2) {
        make_folder();
        make(&l);
        nb_fit_spec s = spec_for(&l, 0);
        s.interruptible = true;
        s.on_epoch = signal_at;
        l.stop_at = at;
        fine(nb_fit(&s, &r, &why), &why);
        ck_assert_int_eq(r.end, NB_FIT_INTERRUPTED);
        ck_assert_int_eq(r.epochs, at);
        ck_assert_int_eq(r.steps, r.history[at - 1].step);
        nb_fit_result_free(&r);
        free_learned(&l);
        remove_folder();
    }
}
END_TEST

/* ---- best ------------------------------------------------------------------------------------ */

/* What `best` holds judges as the history says, with the average where there is one. */
START_TEST(best_is_kept)
{
    learned a, b;
    nb_fit_result r;
    nb_reason why = {""};
    double loss;
    make_folder();
    make(&a);
    nb_fit_spec s = spec_for(&a, 0);
    s.average = _i ? a.average : NULL;
    s.epochs = 12;
    fine(nb_fit(&s, &r, &why), &why);
    double least = (double)INFINITY;
    for (int64_t k = 0; k < r.epochs; k++)
        least = r.history[k].valid_loss < least ? r.history[k].valid_loss : least;
    ck_assert_double_eq(r.best_loss, least);
    ck_assert_double_eq(r.history[r.best_epoch - 1].valid_loss, least);
    make(&b);
    nb_saved kept = {.params = b.p};
    fine(nb_load(&kept, path("best"), &why), &why);
    ck_assert_ptr_nonnull(kept.prep);
    ck_assert_ptr_null(kept.schema);
    fine(nb_evaluate(&(nb_learner){.params = b.p, .model = net, .context = &b, .prep = kept.prep},
                     valid, &loss, NULL, &why),
         &why);
    ck_assert_double_eq(loss, least);
    nb_prep_free(kept.prep);
    nb_fit_result_free(&r);
    free_learned(&a);
    free_learned(&b);
    remove_folder();
}
END_TEST

/* ---- what goes wrong ------------------------------------------------------------------------- */

static nb_var bad_at(void *context, const nb_pass *m, nb_var x)
{
    learned *l = context;
    nb_var y = net(context, m, x);
    return m->training && ++l->seen == l->stop_at ? nb_log(nb_neg(nb_square(y))) : y;
}

/* The last good state stays in the file, and a fit without the mistake goes on from there. */
START_TEST(a_bad_step_keeps_the_file)
{
    learned a, b;
    nb_fit_result r, q;
    nb_reason why = {""};
    make_folder();
    whole(&a, 0, &r);
    make(&b);
    nb_fit_spec s = spec_for(&b, 0);
    s.learner.model = bad_at;
    b.stop_at = 8;
    said(nb_fit(&s, NULL, &why), NB_ERR_ANOMALY, &why, "step 8 (epoch 2, batch 3)");
    ck_assert_int_eq(nb_optim_steps(b.o), 7);
    free_learned(&b);
    make(&b);
    s = spec_for(&b, 0);
    fine(nb_fit(&s, &q, &why), &why);
    as_one(&a, &b, &r, &q);
    remove_folder();
}
END_TEST

/* A plateau that the file knows nothing of begins at its own rate, and drop_last is what the file says. */
START_TEST(a_plateau_is_new)
{
    learned l;
    nb_fit_result r;
    nb_reason why = {""};
    make_folder();
    make(&l);
    nb_fit_spec s = spec_for(&l, 1);
    s.plateau = NULL;
    s.epochs = 1;
    fine(nb_fit(&s, NULL, &why), &why);
    s.plateau = &l.plateau;
    s.epochs = 2;
    fine(nb_fit(&s, &r, &why), &why);
    ck_assert_int_eq(r.epochs, 2);
    ck_assert_double_eq(r.history[1].rate, 0.02);
    s.drop_last = true;
    said(nb_fit(&s, NULL, &why), NB_ERR_ARGUMENT, &why, "with 0 as drop_last, this is 1");
    nb_fit_result_free(&r);
    free_learned(&l);
    remove_folder();
}
END_TEST

/* No room on the disk: an error that names the file, and the old file intact. */
START_TEST(full_disk)
{
    static char before[100000], after[100000];
    learned l;
    nb_reason why = {""};
    make_folder();
    make(&l);
    nb_fit_spec s = spec_for(&l, 0);
    s.epochs = 1;
    fine(nb_fit(&s, NULL, &why), &why);
    const size_t size = read_bytes("last", before, sizeof before);
    signal(SIGXFSZ, SIG_IGN);
    const struct rlimit small = {1000, RLIM_INFINITY};
    setrlimit(RLIMIT_FSIZE, &small);
    s.epochs = 2;
    said(nb_fit(&s, NULL, &why), NB_ERR_FILE, &why, "last");
    setrlimit(RLIMIT_FSIZE, &(struct rlimit){RLIM_INFINITY, RLIM_INFINITY});
    ck_assert_uint_gt(size, 1000);
    ck_assert_uint_eq(read_bytes("last", after, sizeof after), size);
    ck_assert(!memcmp(before, after, size));
    ck_assert_int_eq(files_in_folder(), 2);
    free_learned(&l);
    remove_folder();
}
END_TEST

static void refuse(learned *l, const nb_fit_spec *s, nb_code expected, const char *part)
{
    nb_reason why = {""};
    const size_t bytes = (size_t)nb_params_size(l->p) * sizeof(float);
    char *before = malloc(bytes);
    memcpy(before, nb_params_values(l->p), bytes);
    said(nb_fit(s, NULL, &why), expected, &why, part);
    ck_assert(!memcmp(before, nb_params_values(l->p), bytes));
    ck_assert_int_eq(nb_optim_steps(l->o), 0);
    free(before);
}

/* A file of another fit, another model, another optimizer; one that is no file of a fit; a broken one. */
START_TEST(wrong_files)
{
    learned l, m;
    nb_reason why = {""};
    nb_dataset *few = blobs(NB_F32, 60, 1, NULL);
    make_folder();
    make(&l);
    nb_fit_spec s = spec_for(&l, 0);
    fine(nb_fit(&s, NULL, &why), &why);
    free_learned(&l);
    make(&l);
    s = spec_for(&l, 0);
    s.train = few;
    refuse(&l, &s, NB_ERR_ARGUMENT, "was made with 75 as rows of data, this is 60");
    s.train = train;
    s.batch = 15;
    refuse(&l, &s, NB_ERR_ARGUMENT, "rows of a batch");
    s.batch = 16;
    s.seed = 6;
    refuse(&l, &s, NB_ERR_ARGUMENT, "a seed");
    s.seed = 5;
    nb_optim *o =
        nb_optim_new(l.p, &(nb_optim_options){nb_update_of(NB_MOMENTUM), .rate = 1}, &why);
    s.optim = o;
    refuse(&l, &s, NB_ERR_FORMAT, "the file's optimizer is adam, the one at hand momentum");
    nb_optim_free(o);
    make_learned(&m, NB_F32, true, NULL);
    s = spec_for(&m, 0);
    refuse(&m, &s, NB_ERR_FORMAT, "the file has a parameter \"norm.gain\", the model has none");
    free_learned(&m);
    make(&m);
    s = spec_for(&m, 0);
    s.last = path("best");
    refuse(&m, &s, NB_ERR_FORMAT, "no tensor \"fit/made_of\"");
    s.last = path("last");
    char bytes[100000];
    const size_t size = read_bytes("last", bytes, sizeof bytes);
    bytes[size - 1] ^= 1;
    write_bytes("last", bytes, size);
    refuse(&m, &s, NB_ERR_FORMAT, "checksum");
    s.last = path("no folder/last");
    refuse(&l, &s, NB_ERR_FILE, "no folder/last");
    free_learned(&l);
    free_learned(&m);
    nb_dataset_free(few);
    remove_folder();
}
END_TEST

/* ---- from a file that is read by batches ----------------------------------------------------- */

static nb_code stop_there(void *context, const nb_fit_step *s)
{
    return s->step == ((learned *)context)->stop_at ? NB_ERR_CALLBACK : NB_OK;
}

START_TEST(streams)
{
    char text[4000];
    learned a, b;
    nb_fit_result r, q;
    nb_reason why = {""};
    nb_schema *schema;
    nb_reader *reader;
    nb_batches *batches;
    size_t at = 0;
    make_folder();
    for (int64_t i = 0; i < train->rows; i++)
        at += (size_t)snprintf(text + at, sizeof text - at, "%.4f,%.4f,%d\n",
                               (double)((const float *)train->x)[2 * i],
                               (double)((const float *)train->x)[2 * i + 1], (int)train->label[i]);
    write_text("data.csv", text);
    fine(nb_csv_scan(path("data.csv"), &(nb_csv_options){.dtype = NB_F32}, &schema, &why), &why);
    for (int k = 0; k < 3; k++) { /* whole; until step 7; the rest */
        learned *l = k ? &b : &a;
        fine(nb_csv_open(path("data.csv"), schema, &reader, &why), &why);
        fine(nb_batches_stream(reader, &(nb_batch_options){.size = 16, .shuffle = true, .seed = 3},
                               &batches, &why),
             &why);
        make(l);
        nb_fit_spec s = spec_of(l, NULL, valid);
        s.batches = batches;
        s.last = k ? path("last") : NULL;
        s.resume = k == 2;
        l->stop_at = 7;
        s.on_step = k == 1 ? stop_there : NULL;
        fine(nb_fit(&s, k ? &q : &r, &why), &why);
        nb_batches_free(batches);
        nb_reader_free(reader);
        if (k == 1) {
            nb_fit_result_free(&q);
            free_learned(&b);
        }
    }
    ck_assert_int_eq(r.steps, 20);
    as_one(&a, &b, &r, &q);
    nb_schema_free(schema);
    remove_folder();
}
END_TEST

static void set_up(void)
{
    nb_reason why = {""};
    const nb_prep_step steps[] = {{NB_PREP_STANDARDISE, 0}};
    train = blobs(NB_F32, 75, 1, NULL);
    valid = blobs(NB_F32, 50, 1, NULL);
    fine(nb_prep_fit(train, 1, steps, &prep, &why), &why);
}

static void tear_down(void)
{
    nb_prep_free(prep);
    nb_dataset_free(train);
    nb_dataset_free(valid);
}

int main(void)
{
    TCase *c = tcase_create("resume");
    tcase_set_timeout(c, 60);
    tcase_add_checked_fixture(c, set_up, tear_down);
    tcase_add_loop_test(c, kills, 0, 8);
    tcase_add_loop_test(c, signals, 0, 2);
    tcase_add_loop_test(c, best_is_kept, 0, 2);
    tcase_add_test(c, a_bad_step_keeps_the_file);
    tcase_add_test(c, signals_between_epochs);
    tcase_add_test(c, ignored_signals);
    tcase_add_test(c, a_plateau_is_new);
    tcase_add_test(c, full_disk);
    tcase_add_test(c, wrong_files);
    tcase_add_test(c, streams);
    return run_case("resume", c);
}
