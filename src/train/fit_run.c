/*
 * A fit from its spec to its result: what is refused, what is made for it, and what is left.
 */
#include "train/fit.h"

#include "base/reason.h"
#include "nn/model.h"
#include "train/owner.h"

#include <math.h>
#include <string.h>
#include <time.h>

enum { BATCH = 32 };

/* ---- what is refused ------------------------------------------------------------------------- */

static nb_code check_numbers(const nb_fit_spec *s, nb_reason *why)
{
    if (s->epochs < 1)
        return nbi_because(why, NB_ERR_ARGUMENT, "fit: %lld epochs, not at least 1",
                           (long long)s->epochs);
    if (s->batch < 0 || s->micro < 0 || s->patience < 0 || s->save_every < 0)
        return nbi_because(
            why, NB_ERR_ARGUMENT,
            "fit: batch %lld, micro %lld, patience %lld, save_every %lld: none may be negative",
            (long long)s->batch, (long long)s->micro, (long long)s->patience,
            (long long)s->save_every);
    if (s->threads < NB_ALL_THREADS)
        return nbi_because(why, NB_ERR_ARGUMENT, "fit: %d threads", s->threads);
    if (!(s->valid_share >= 0 && s->valid_share < 1))
        return nbi_because(why, NB_ERR_ARGUMENT, "fit: the validation share is %g, not in [0, 1)",
                           s->valid_share);
    if (!(s->clip_norm >= 0) || !(s->clip_value >= 0) || !(s->least >= 0) || isinf(s->least))
        return nbi_because(why, NB_ERR_ARGUMENT,
                           "fit: clip_norm %g, clip_value %g, least %g: none may be negative",
                           s->clip_norm, s->clip_value, s->least);
    return NB_OK;
}

static nb_code check_owners(const nb_fit_spec *s, nb_reason *why)
{
    const nb_params *p = s->learner.params;
    const char *stranger = nbi_optim_params(s->optim) != p                     ? "optimizer"
                           : s->average && nbi_average_params(s->average) != p ? "average"
                           : s->monitor && nbi_monitor_params(s->monitor) != p ? "monitor"
                                                                               : NULL;
    if (stranger && p)
        return nbi_because(why, NB_ERR_ARGUMENT,
                           "fit: the %s is not that of the learner's parameters", stranger);
    if (nbi_average_swapped(s->average))
        return nbi_because(why, NB_ERR_ARGUMENT,
                           "fit: the parameters hold the mean: swap the average back first");
    return NB_OK;
}

static nb_code check_plateau(const nb_plateau *p, nb_reason *why)
{
    nb_plateau copy = *p;
    if (!(p->rate > 0))
        return nbi_because(why, NB_ERR_ARGUMENT,
                           "fit: the plateau's learning rate is %g, not above 0", p->rate);
    if (isnan(nb_plateau_tell(&copy, 0)))
        return nbi_because(why, NB_ERR_ARGUMENT,
                           "fit: plateau: rate %g, factor %g, threshold %g, lowest %g, patience "
                           "%lld, cool %lld: none may be negative, the factor is below 1",
                           p->rate, p->factor, p->threshold, p->lowest, (long long)p->patience,
                           (long long)p->cool);
    return NB_OK;
}

static nb_code check(const nb_fit_spec *s, nb_reason *why)
{
    if (!s || !s->optim)
        return nbi_because(why, NB_ERR_ARGUMENT, "fit: there is no %s", s ? "optimizer" : "spec");
    if (!s->train == !s->batches)
        return nbi_because(why, NB_ERR_ARGUMENT,
                           "fit: there must be either train or batches, and there %s",
                           s->train ? "are both" : "is neither");
    if (s->valid_share > 0 && (s->valid || s->batches))
        return nbi_because(why, NB_ERR_ARGUMENT, "fit: a share to hold out, but %s",
                           s->valid ? "there are validation data" : "no data set to take it from");
    if (s->plateau && s->schedule.rate != 0)
        return nbi_because(why, NB_ERR_ARGUMENT,
                           "fit: both a schedule and a plateau: the learning rate has one master");
    if (s->resume && !s->last)
        return nbi_because(why, NB_ERR_ARGUMENT, "fit: there is no file `last` to resume from");
    nb_code code = check_owners(s, why);
    if (!code && s->plateau)
        code = check_plateau(s->plateau, why);
    return code ? code : check_numbers(s, why);
}

static nb_code check_data(const nb_dataset *d, const char *what, nb_reason *why)
{
    nb_reason reason = {""};
    const nb_code code = d ? nb_dataset_check(d, &reason) : NB_OK;
    return code ? nbi_because(why, code, "fit: the %s data: %s", what, reason.text) : NB_OK;
}

/* ---- what is made for it --------------------------------------------------------------------- */

static nb_code hold_out(nbi_training *f, nb_reason *why)
{
    const nb_fit_spec *s = &f->spec;
    f->train = s->train;
    f->valid = s->valid;
    if (!(s->valid_share > 0))
        return NB_OK;
    const nb_code code = nb_dataset_split(s->train, s->valid_share, s->train->label != NULL,
                                          s->seed, &f->rest, &f->part, why);
    f->train = f->rest;
    f->valid = f->part;
    return code;
}

/* A schedule as long as the fit, unless it says how long it is. */
static nb_code set_schedule(nbi_training *f, nb_reason *why)
{
    const int64_t each = nbi_fit_batches(f);
    int64_t steps;
    f->schedule = f->spec.schedule;
    if (f->schedule.rate == 0) {
        if (f->schedule.kind || f->schedule.warm_up)
            return nbi_because(why, NB_ERR_ARGUMENT, "fit: the schedule's learning rate is 0");
        return NB_OK;
    }
    if (!f->schedule.steps && each && !__builtin_mul_overflow(each, f->spec.epochs, &steps))
        f->schedule.steps = steps > f->schedule.warm_up ? steps - f->schedule.warm_up : 1;
    return nb_schedule_check(&f->schedule, why);
}

static nb_code make_batches(nbi_training *f, nb_reason *why)
{
    const nb_fit_spec *s = &f->spec;
    nb_code code = NB_OK;
    if (!s->batches)
        code = nb_batches_new(f->train,
                              &(nb_batch_options){.size = s->batch,
                                                  .shuffle = true,
                                                  .drop_last = s->drop_last,
                                                  .seed = s->seed,
                                                  .prep = s->learner.prep},
                              &f->made, why);
    f->batches = s->batches ? s->batches : f->made;
    return code;
}

static nb_code make_parts(nbi_training *f, nb_reason *why)
{
    const nb_fit_spec *s = &f->spec;
    nbi_parts_options o = {.micro = s->micro,
                           .most = f->train ? s->batch : 0,
                           .threads = s->threads,
                           .seed = s->seed,
                           .training = true,
                           .allocator = s->allocator};
    if (f->train && f->train->rows < o.most)
        o.most = f->train->rows;
    nb_code code = nbi_parts_start(&f->parts, &s->learner, f->train, &o, why);
    if (!code && f->valid)
        code = nbi_judges_start(&f->judges, &f->judged, &s->learner, f->valid, false, s->threads,
                                s->allocator, why);
    return code;
}

static nb_code prepare(nbi_training *f, nb_reason *why)
{
    nb_code code = check_data(f->spec.train, "training", why);
    if (!code)
        code = check_data(f->spec.valid, "validation", why);
    if (!code)
        code = hold_out(f, why);
    if (!code)
        code = make_batches(f, why);
    if (!code)
        code = set_schedule(f, why);
    if (!code)
        code = make_parts(f, why);
    if (!code)
        code = nbi_fit_try(f, why);
    bool found = false;
    if (!code && f->spec.resume)
        code = nbi_fit_resume(f, &found, why);
    return code;
}

/* ---- what is left ---------------------------------------------------------------------------- */

nb_code nbi_fit_room(nbi_training *f, int64_t rows, nb_reason *why)
{
    const size_t size = sizeof *f->history;
    if (rows <= f->room)
        return NB_OK;
    const int64_t room = rows > 2 * f->room ? rows : 2 * f->room;
    void *p = (size_t)room < SIZE_MAX / size / 2
                  ? nbi_resize(&f->heap, f->history, (size_t)f->room * size, (size_t)room * size)
                  : NULL;
    if (!p)
        return nbi_because(why, NB_ERR_MEMORY, "fit: no memory for the history of %lld epochs",
                           (long long)rows);
    f->history = p;
    f->room = room;
    return NB_OK;
}

void nb_fit_result_free(nb_fit_result *r)
{
    if (!r)
        return;
    if (r->history)
        nb_resize(&r->allocator, r->history, (size_t)r->room * sizeof *r->history, 0);
    *r = (nb_fit_result){0};
}

static void finish(nbi_training *f, nb_fit_result *r)
{
    if (f->schedule.rate > 0 || f->spec.plateau)
        nb_optim_set_rate(f->spec.optim, f->own_rate, NULL);
    if (r)
        *r = (nb_fit_result){.end = f->end,
                             .steps = f->at.steps,
                             .best_epoch = f->at.best_epoch,
                             .best_loss = f->at.best_loss,
                             .epochs = f->at.epochs,
                             .history = f->history,
                             .room = f->room,
                             .allocator = f->heap.allocator};
    else
        nbi_resize(&f->heap, f->history, (size_t)f->room * sizeof *f->history, 0);
    nbi_parts_free(&f->parts);
    nbi_parts_free(&f->judges);
    nb_batches_free(f->made);
    nb_batches_free(f->judged);
    nb_dataset_free(f->rest);
    nb_dataset_free(f->part);
}

nb_code nb_fit(const nb_fit_spec *spec, nb_fit_result *result, nb_reason *why)
{
    nb_reason reason = {""};
    if (result)
        *result = (nb_fit_result){0};
    nb_code code = check(spec, why);
    if (code)
        return code;
    nbi_training f = {.spec = *spec,
                      .at = {.best_loss = (double)INFINITY, .mark = (double)INFINITY},
                      .own_rate = nb_optim_rate(spec->optim),
                      .bar = {.to = spec->progress, .label = "training"}};
    f.spec.batch = spec->batch ? spec->batch : BATCH;
    nbi_heap_init(&f.heap, spec->allocator, 0);
    code = prepare(&f, &reason);
    if (!code)
        code = nbi_fit_loop(&f, &reason);
    nb_bar_clear(&f.bar);
    finish(&f, result);
    return code ? nbi_because(why, code, "%s%s", strncmp(reason.text, "fit", 3) ? "fit: " : "",
                              reason.text)
                : NB_OK;
}
