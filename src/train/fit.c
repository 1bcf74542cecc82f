/*
 * The loop.
 *
 *     for each epoch: for each batch: gradients, clipping, optimizer; then judge, keep, tell
 *
 * A step is made of things that may fail and a commitment that may not: the loss, its gradients and what is
 * to become of running statistics stand beside the model until the optimizer has taken the step, which
 * itself does all or nothing. So after any error the model is as it was before the step.
 *
 * Everything random follows from seed and step. So state and batches' place, saved between two steps,
 * are enough to make the same steps again; see fit_keep.c.
 *
 * Signals are not caught: a handler would need a variable that all fits of a program share. They are
 * blocked, so that they stay pending, and asked for between two steps.
 */
#include "train/fit.h"

#include "base/reason.h"
#include "nn/model.h"
#include "train/interrupt.h"

#include <float.h>
#include <math.h>
#include <nabla/save.h>
#include <string.h>
#include <time.h>

static const char *const ends[] = {[NB_FIT_FAILED] = "failed",
                                   [NB_FIT_EPOCHS] = "all epochs were made",
                                   [NB_FIT_PATIENCE] = "the loss fell no more",
                                   [NB_FIT_CALLBACK] = "a callback ended it",
                                   [NB_FIT_INTERRUPTED] = "it was interrupted"};

const char *nb_fit_end_name(nb_fit_end end)
{
    return end >= 0 && end < NB_FIT_ENDS ? ends[end] : "unknown";
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- a step ---------------------------------------------------------------------------------- */

static void set_rate(nbi_training *f)
{
    const nb_plateau *p = f->spec.plateau;
    double rate = nb_optim_rate(f->spec.optim);
    if (f->schedule.rate > 0)
        rate = nb_schedule_at(&f->schedule, f->at.steps);
    else if (p)
        rate = p->rate;
    f->at.rate = rate;
    nb_optim_set_rate(f->spec.optim, rate, NULL);
}

/* The gradient's length is one pass more over it: where nobody asks for it, only that of the last step
 * before it is told or saved is taken. */
static void measure(nbi_training *f)
{
    if (f->unmeasured)
        nb_clip_norm(f->spec.learner.params, DBL_MAX, &f->at.gradient, NULL);
    f->unmeasured = false;
}

static nb_code keep_last(nbi_training *f, nb_reason *why)
{
    measure(f);
    return nbi_fit_keep_last(f, why);
}

/* From gradients to new parameters. */
static nb_code take_step(nbi_training *f, nb_reason *why)
{
    const nb_fit_spec *s = &f->spec;
    nb_params *p = s->learner.params;
    nb_code code = NB_OK;
    f->unmeasured = !(s->clip_norm > 0) && !(s->clip_value > 0) && !s->on_step;
    if (!f->unmeasured)
        code = nb_clip_norm(p, s->clip_norm > 0 ? s->clip_norm : DBL_MAX, &f->at.gradient, why);
    if (!code && s->clip_value > 0)
        code = nb_clip_value(p, s->clip_value, why);
    if (!code)
        code = nb_monitor_step(s->monitor, s->optim, why);
    if (code)
        return code;
    nbi_parts_commit(&f->parts);
    return s->average ? nb_average_tell(s->average, why) : NB_OK;
}

/* A callback's answer: to go on, to end well, or that it failed. */
static nb_code heed(nbi_training *f, nb_code code, nb_reason *why)
{
    if (code == NB_ERR_CALLBACK)
        f->end = NB_FIT_CALLBACK;
    else if (code)
        return nbi_because(why, code, "fit: after step %lld a callback failed: %s",
                           (long long)f->at.steps, nb_code_text(code));
    return NB_OK;
}

static nb_code say_where(const nbi_training *f, nb_code code, const nb_reason *reason,
                         nb_reason *why)
{
    return nbi_because(why, code, "fit: step %lld (epoch %lld, batch %lld): %s",
                       (long long)f->at.steps + 1, (long long)f->at.epochs + 1,
                       (long long)f->at.batch + 1,
                       reason->text[0] ? reason->text : nb_code_text(code));
}

/* Of batches that come from elsewhere nothing is known before. */
static nb_code check_batch(const nbi_training *f, const nb_dataset *batch, nb_reason *why)
{
    const nb_code code = nbi_learner_check(&f->spec.learner, batch, false, why);
    return code ? code : nb_dataset_check(batch, why);
}

static nb_code step(nbi_training *f, const nb_dataset *batch, nb_reason *why)
{
    nb_reason reason = {""}, found;
    nbi_outcome out;
    set_rate(f);
    nb_code code = f->made ? NB_OK : check_batch(f, batch, &reason);
    if (!code)
        code = nbi_parts_run(&f->parts, batch, f->at.steps + 1, f->spec.monitor, &out, &reason);
    if (!code)
        code = take_step(f, &reason);
    if (code == NB_ERR_ANOMALY && nbi_parts_find(&f->parts, batch, f->at.steps + 1, &found))
        reason = found;
    if (code)
        return say_where(f, code, &reason, why);
    f->at.steps++;
    f->at.batch++;
    f->at.rows += batch->rows;
    f->at.loss += out.loss * (double)batch->rows;
    for (int k = 0; k < NB_METRICS; k++)
        if (!isnan(out.metric[k])) {
            f->at.metric[k] += out.metric[k] * (double)batch->rows;
            f->at.measured[k] += batch->rows;
        }
    f->at.seconds = now() - f->before;
    if (!f->spec.on_step)
        return NB_OK;
    nb_fit_step told = {.epoch = f->at.epochs + 1,
                        .step = f->at.steps,
                        .batch = f->at.batch,
                        .loss = out.loss,
                        .rate = f->at.rate,
                        .gradient = f->at.gradient};
    memcpy(told.metric, out.metric, sizeof told.metric);
    return heed(f, f->spec.on_step(f->spec.learner.context, &told), why);
}

/* ---- an epoch -------------------------------------------------------------------------------- */

/* With the average in place of the parameters, if there is one. */
static nb_code judge(nbi_training *f, nb_fit_epoch *e, nb_reason *why)
{
    nb_average *a = f->spec.average;
    nb_reason reason = {""};
    if (!f->valid)
        return NB_OK;
    nb_code code = a ? nb_average_swap(a, why) : NB_OK;
    if (code)
        return code;
    code = nbi_parts_judge(&f->judges, f->judged, f->valid, &e->valid_loss, e->valid_metric, 0,
                           NULL, &reason);
    if (a)
        nb_average_swap(a, NULL);
    return code
               ? nbi_because(why, code, "fit: epoch %lld, validation data: %s", (long long)e->epoch,
                             reason.text[0] ? reason.text : nb_code_text(code))
               : NB_OK;
}

static void watch(nbi_training *f, double loss)
{
    nb_plateau *p = f->spec.plateau;
    if (loss < f->at.best_loss) {
        f->at.best_loss = loss;
        f->at.best_epoch = f->at.epochs;
    }
    if (loss < f->at.mark - f->spec.least) {
        f->at.mark = loss;
        f->at.bad = 0;
    } else {
        f->at.bad++;
    }
    if (p)
        nb_plateau_tell(p, loss);
}

double nbi_fit_mean(const nbi_training *f, int k)
{
    return f->at.measured[k] ? f->at.metric[k] / (double)f->at.measured[k] : (double)NAN;
}

static nb_code end_epoch(nbi_training *f, nb_reason *why)
{
    const double rows = (double)f->at.rows;
    nb_code code = nbi_fit_room(f, f->at.epochs + 1, why);
    if (code)
        return code;
    measure(f);
    nb_fit_epoch *e = &f->history[f->at.epochs];
    *e = (nb_fit_epoch){.epoch = f->at.epochs + 1,
                        .step = f->at.steps,
                        .loss = f->at.loss / rows,
                        .valid_loss = (double)NAN,
                        .rate = f->at.rate,
                        .gradient = f->at.gradient};
    for (int k = 0; k < NB_METRICS; k++) {
        e->metric[k] = nbi_fit_mean(f, k);
        e->valid_metric[k] = (double)NAN;
    }
    code = judge(f, e, why);
    if (code)
        return code;
    f->at.epochs++;
    f->at.rows = f->at.batch = 0;
    f->at.loss = 0;
    memset(f->at.metric, 0, sizeof f->at.metric);
    memset(f->at.measured, 0, sizeof f->at.measured);
    e->seconds = f->at.seconds = now() - f->before;
    watch(f, f->valid ? e->valid_loss : e->loss);
    if (f->spec.best && f->at.best_epoch == f->at.epochs)
        code = nbi_fit_keep_best(f, why);
    if (!code && f->spec.last)
        code = keep_last(f, why);
    nbi_fit_tell(f, e);
    return !code && f->spec.on_epoch ? heed(f, f->spec.on_epoch(f->spec.learner.context, e), why)
                                     : code;
}

/* ---- the loop -------------------------------------------------------------------------------- */

static bool is_over(nbi_training *f)
{
    if (f->spec.patience > 0 && f->at.bad >= f->spec.patience)
        f->end = NB_FIT_PATIENCE;
    else if (f->at.epochs >= f->spec.epochs)
        f->end = NB_FIT_EPOCHS;
    else
        return false;
    return true;
}

/* Until the end of an epoch, or of the fit. */
static nb_code epoch(nbi_training *f, const nbi_interrupt *signals, nb_reason *why)
{
    const nb_dataset *batch;
    nb_code code;
    while (!(code = nb_batches_next(f->batches, &batch, why)) && batch) {
        code = step(f, batch, why);
        if (code)
            return code;
        nbi_fit_show(f);
        if (nbi_interrupted(signals))
            f->end = NB_FIT_INTERRUPTED;
        if (f->end)
            return NB_OK;
        if (f->spec.last && f->spec.save_every > 0 && f->at.steps % f->spec.save_every == 0)
            code = keep_last(f, why);
        if (code)
            return code;
    }
    code = code ? code : end_epoch(f, why);
    if (!code && !f->end && nbi_interrupted(signals))
        f->end = NB_FIT_INTERRUPTED;
    return code;
}

nb_code nbi_fit_loop(nbi_training *f, nb_reason *why)
{
    nbi_interrupt signals;
    nb_code code = NB_OK;
    nbi_interrupt_block(&signals, f->spec.interruptible);
    f->before = now() - f->at.seconds;
    while (!code && !f->end && !is_over(f))
        code = epoch(f, &signals, why);
    nbi_interrupt_allow(&signals);
    const bool early = f->end == NB_FIT_CALLBACK || f->end == NB_FIT_INTERRUPTED;
    if (!code && early && f->spec.last)
        code = keep_last(f, why);
    if (code)
        f->end = NB_FIT_FAILED;
    return code;
}
