/*
 * The files of a fit.
 *
 * `last` is a saved model with a few tensors more: the state as it stands in memory, integers and doubles;
 * the history, a row for each epoch; and what the fit was made of, which must be the same when it goes
 * on, or the batches would be others: rows, size of batches and parts, seed.
 *
 * Resuming checks all of that first, then loads the model, all or nothing, and only then believes the state.
 */
#include "train/fit.h"

#include "base/atomic.h"
#include "base/reason.h"
#include "data/file.h"
#include "train/saved.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

enum { MADE_OF = 5 };
static const char *const made_of_name[MADE_OF] = {"rows of data", "rows of a batch",
                                                  "rows of a part", "a seed", "drop_last"};

static void made_of(const nbi_training *f, int64_t to[MADE_OF])
{
    to[0] = f->train ? f->train->rows : 0;
    to[1] = f->spec.batch;
    to[2] = f->spec.micro;
    memcpy(&to[3], &f->spec.seed, sizeof to[3]);
    to[4] = f->spec.drop_last;
}

static nb_saved all_of(const nbi_training *f)
{
    return (nb_saved){.params = f->spec.learner.params,
                      .optim = f->spec.optim,
                      .average = f->spec.average,
                      .batches = f->batches,
                      .prep = (nb_prep *)f->spec.learner.prep,
                      .schema = (nb_schema *)f->spec.schema};
}

/* ---- as arrays ------------------------------------------------------------------------------- */

enum { OWN_INTEGERS = 9, OWN_DOUBLES = 8, OWN_COLUMNS = 7 };

static void pack_state(const nbi_training *f, int64_t *i, double *d)
{
    const nbi_fit_state *a = &f->at;
    const nb_plateau none = {0}, *p = f->spec.plateau ? f->spec.plateau : &none;
    memcpy(i,
           (int64_t[OWN_INTEGERS]){a->epochs, a->steps, a->batch, a->rows, a->best_epoch, a->bad,
                                   p->told, p->bad, p->cooling},
           OWN_INTEGERS * sizeof *i);
    memcpy(d,
           (double[OWN_DOUBLES]){a->loss, a->best_loss, a->rate, a->gradient, a->seconds, a->mark,
                                 p->rate, p->best},
           OWN_DOUBLES * sizeof *d);
    memcpy(i + OWN_INTEGERS, a->measured, sizeof a->measured);
    memcpy(d + OWN_DOUBLES, a->metric, sizeof a->metric);
}

static void unpack_state(nbi_training *f, const int64_t *i, const double *d)
{
    nb_plateau *p = f->spec.plateau;
    f->at = (nbi_fit_state){.epochs = i[0],
                            .steps = i[1],
                            .batch = i[2],
                            .rows = i[3],
                            .best_epoch = i[4],
                            .bad = i[5],
                            .loss = d[0],
                            .best_loss = d[1],
                            .rate = d[2],
                            .gradient = d[3],
                            .seconds = d[4],
                            .mark = d[5]};
    memcpy(f->at.measured, i + OWN_INTEGERS, sizeof f->at.measured);
    memcpy(f->at.metric, d + OWN_DOUBLES, sizeof f->at.metric);
    if (!p || !(d[6] > 0)) /* there was no plateau then: one that is new begins at its beginning */
        return;
    p->told = i[6];
    p->bad = i[7];
    p->cooling = i[8];
    p->rate = d[6];
    p->best = d[7];
}

static void pack_row(const nb_fit_epoch *e, double *d)
{
    memcpy(d,
           (double[OWN_COLUMNS]){(double)e->epoch, (double)e->step, e->loss, e->valid_loss, e->rate,
                                 e->gradient, e->seconds},
           OWN_COLUMNS * sizeof *d);
    memcpy(d + OWN_COLUMNS, e->metric, sizeof e->metric);
    memcpy(d + OWN_COLUMNS + NB_METRICS, e->valid_metric, sizeof e->valid_metric);
}

static nb_fit_epoch unpack_row(const double *d, int64_t row)
{
    nb_fit_epoch e = {.epoch = row + 1,
                      .step = (int64_t)d[1],
                      .loss = d[2],
                      .valid_loss = d[3],
                      .rate = d[4],
                      .gradient = d[5],
                      .seconds = d[6]};
    memcpy(e.metric, d + OWN_COLUMNS, sizeof e.metric);
    memcpy(e.valid_metric, d + OWN_COLUMNS + NB_METRICS, sizeof e.valid_metric);
    return e;
}

/* ---- writing --------------------------------------------------------------------------------- */

static nb_code put_history(const nbi_training *f, nb_file *to, nb_reason *why)
{
    nbi_heap heap = f->heap;
    const size_t bytes = (size_t)f->at.epochs * NBI_FIT_COLUMNS * sizeof(double);
    double *row = nbi_resize(&heap, NULL, 0, bytes + 1);
    if (!row)
        return nbi_because(why, NB_ERR_MEMORY, "fit: no memory to save the history");
    for (int64_t k = 0; k < f->at.epochs; k++)
        pack_row(&f->history[k], row + k * NBI_FIT_COLUMNS);
    nb_file_put_copy(to, &(nb_file_entry){"fit/history", NB_T_F64,
                                          NB_SHAPE(f->at.epochs, NBI_FIT_COLUMNS), row});
    nbi_resize(&heap, row, bytes + 1, 0);
    return NB_OK;
}

static nb_code put_state(const nbi_training *f, nb_file *to, nb_reason *why)
{
    int64_t of[MADE_OF], integer[NBI_FIT_INTEGERS];
    double number[NBI_FIT_DOUBLES];
    made_of(f, of);
    pack_state(f, integer, number);
    nb_file_put_copy(to, &(nb_file_entry){"fit/made_of", NB_T_I64, NB_SHAPE(MADE_OF), of});
    nb_file_put_copy(to,
                     &(nb_file_entry){"fit/state", NB_T_I64, NB_SHAPE(NBI_FIT_INTEGERS), integer});
    nb_file_put_copy(to,
                     &(nb_file_entry){"fit/numbers", NB_T_F64, NB_SHAPE(NBI_FIT_DOUBLES), number});
    const nb_code code = put_history(f, to, why);
    return !code && to->code ? nbi_because(why, to->code, "fit: %s", to->why.text) : code;
}

nb_code nbi_fit_keep_last(const nbi_training *f, nb_reason *why)
{
    const nb_saved all = all_of(f);
    nb_file *to = nb_file_new(&f->heap.allocator);
    nb_code code = to ? nbi_saved_put(&all, to, why)
                      : nbi_because(why, NB_ERR_MEMORY, "fit: no memory to save");
    if (!code)
        code = put_state(f, to, why);
    if (!code)
        code = nb_file_save(to, f->spec.last, why);
    nb_file_free(to);
    return code;
}

nb_code nbi_fit_try(const nbi_training *f, nb_reason *why)
{
    const char *const path[] = {f->spec.best, f->spec.last};
    const nb_saved all = all_of(f);
    if (!path[0] && !path[1])
        return NB_OK;
    nb_file *to = nb_file_new(&f->heap.allocator);
    nb_code code = to ? nbi_saved_put(&all, to, why)
                      : nbi_because(why, NB_ERR_MEMORY, "fit: no memory to save");
    nb_file_free(to);
    for (int k = 0; k < 2 && !code; k++)
        code = path[k] ? nbi_try_atomic(path[k], why) : NB_OK;
    return code;
}

nb_code nbi_fit_keep_best(const nbi_training *f, nb_reason *why)
{
    nb_saved kept = all_of(f);
    kept.optim = NULL;
    kept.average = NULL;
    kept.batches = NULL;
    nb_average *a = f->spec.average;
    nb_code code = a ? nb_average_swap(a, why) : NB_OK;
    if (code)
        return code;
    code = nb_save(&kept, f->spec.best, why);
    if (a)
        nb_average_swap(a, NULL);
    return code;
}

/* ---- resuming -------------------------------------------------------------------------------- */

static nb_code check_made_of(const nbi_training *f, const nb_file *from, nb_reason *why)
{
    int64_t then[MADE_OF], now[MADE_OF];
    nb_code code = nb_file_restore(
        from, 1, &(nb_file_entry){"fit/made_of", NB_T_I64, NB_SHAPE(MADE_OF), then}, false, why);
    if (code)
        return code;
    made_of(f, now);
    for (int k = 0; k < MADE_OF; k++)
        if (then[k] != now[k])
            return nbi_because(why, NB_ERR_ARGUMENT, "it was made with %lld as %s, this is %lld",
                               (long long)then[k], made_of_name[k], (long long)now[k]);
    return NB_OK;
}

static bool sane(const int64_t *i)
{
    bool good = i[4] <= i[0];
    for (int k = 0; k < NBI_FIT_INTEGERS; k++)
        good = good && i[k] >= 0 && i[k] < (int64_t)1 << 48;
    return good;
}

static nb_code take_history(nbi_training *f, const nb_file *from, int64_t epochs, nb_reason *why)
{
    const nb_file_entry *e = nb_file_find(from, "fit/history");
    if (!e || e->type != NB_T_F64 || !nb_shape_equal(e->shape, NB_SHAPE(epochs, NBI_FIT_COLUMNS)))
        return nbi_because(why, NB_ERR_FORMAT, "the history is missing or broken");
    const nb_code code = nbi_fit_room(f, epochs, why);
    for (int64_t k = 0; k < epochs && !code; k++)
        f->history[k] = unpack_row((const double *)e->data + k * NBI_FIT_COLUMNS, k);
    return code;
}

static nb_code take_all(nbi_training *f, const nb_file *from, nb_reason *why)
{
    int64_t integer[NBI_FIT_INTEGERS];
    double number[NBI_FIT_DOUBLES];
    nb_code code = check_made_of(f, from, why);
    if (!code)
        code = nb_file_restore(
            from, 2,
            (nb_file_entry[]){{"fit/state", NB_T_I64, NB_SHAPE(NBI_FIT_INTEGERS), integer},
                              {"fit/numbers", NB_T_F64, NB_SHAPE(NBI_FIT_DOUBLES), number}},
            false, why);
    if (!code && !sane(integer))
        code = nbi_because(why, NB_ERR_FORMAT, "the state is broken");
    if (!code)
        code = take_history(f, from, integer[0], why);
    nb_saved all = all_of(f);
    if (!code)
        code = nbi_saved_take(&all, from, why);
    if (code)
        return code;
    nb_prep_free(all.prep); /* those of the spec are used, and were the same */
    nb_schema_free(all.schema);
    unpack_state(f, integer, number);
    return NB_OK;
}

nb_code nbi_fit_resume(nbi_training *f, bool *found, nb_reason *why)
{
    *found = access(f->spec.last, F_OK) == 0 || errno != ENOENT;
    if (!*found)
        return NB_OK;
    nb_file *from;
    nb_reason reason = {""};
    nb_code code = nb_file_load(f->spec.last, &f->heap.allocator, &from, why);
    if (code)
        return code;
    code = take_all(f, from, &reason);
    nb_file_free(from);
    return code
               ? nbi_because(why, code, "fit: resume from \"%.80s\": %s", f->spec.last, reason.text)
               : NB_OK;
}
