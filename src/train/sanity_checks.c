/*
 * The four checks.
 *
 * A loss at the beginning that is off by more than the factor says more than it seems: with softmax over C
 * classes it is log C + s^2 / 2 or so for scores of deviation s. Twice log 10 means scores that are off by 2, and
 * sure of what they cannot know.
 *
 * That training runs does not show that gradients are right: optimizers forgive a factor, and the layers
 * that do learn make up for one that is cut off. Only differences tell.
 */
#include "train/sanity.h"

#include "base/reason.h"
#include "train/parts.h"

#include <math.h>
#include <nabla/losses.h>
#include <nabla/verify.h>
#include <string.h>

enum { ALL_UP_TO = 100, SAMPLE = 24 }; /* coordinates of the gradient that are tested */

/* ---- losses ---------------------------------------------------------------------------------- */

static nb_var apply_model(const nbi_sanity *w, const nb_pass *m)
{
    return nbi_learner_model(&w->l, m, w->rows);
}

static nb_var apply_loss(const nbi_sanity *w, nb_learner_loss_fn *loss, const nb_pass *m, nb_var y)
{
    nb_learner l = w->l;
    l.loss = loss;
    return nbi_learner_loss(&l, m, y, w->rows);
}

static nb_learner_loss_fn *plain_loss(const nbi_sanity *w)
{
    return w->o.plain || w->o.l1 > 0 || w->o.l2 > 0 ? w->o.plain : w->l.loss;
}

/* Statistics of its own are none, so that those of the copy are on hold. */
static nb_pass pass_of(nbi_sanity *w, bool learning, bool training)
{
    nb_params *p = w->l.params;
    w->rng = nb_rng_seed(w->o.seed);
    return nb_pass_with(p, w->t,
                        &(nb_pass_spec){.var = learning ? p->var : p->still,
                                        .grads = learning ? p->grads : NULL,
                                        .training = training,
                                        .rng = &w->rng});
}

static bool has_statistics(const nbi_sanity *w) { return w->l.params->statistics.count > 0; }

/* The error on the tape, if there is one, as this call's. */
static nb_code tell(const nbi_sanity *w, const char *during, nb_reason *why)
{
    const nb_code code = nb_status(w->t);
    return code == NB_OK ? NB_OK
                         : nbi_because(why, code, "sanity: %s: %s", during, nb_message(w->t));
}

/* ---- chance ---------------------------------------------------------------------------------- */

/* The mean over columns of the variance of the targets. */
static double variance(const nb_dataset *d)
{
    double all = 0;
    for (int64_t j = 0; j < d->targets; j++) {
        double mean = 0, spread = 0;
        for (int64_t i = 0; i < d->rows; i++)
            mean += (nbi_load(d->y, d->dtype, i * d->targets + j) - mean) / (double)(i + 1);
        for (int64_t i = 0; i < d->rows; i++) {
            const double y = nbi_load(d->y, d->dtype, i * d->targets + j) - mean;
            spread += y * y / (double)d->rows;
        }
        all += spread / (double)d->targets;
    }
    return all;
}

double nbi_guessing(const nbi_sanity *w)
{
    const nb_dataset *d = w->rows;
    if (w->o.chance > 0 || isnan(w->o.chance))
        return w->o.chance;
    int64_t classes = d->classes;
    for (int64_t i = 0; d->label && !d->classes && i < d->rows; i++)
        classes = d->label[i] >= classes ? d->label[i] + 1 : classes;
    const double loss = d->label ? log((double)classes) : d->y ? variance(d) : 0;
    return loss > 0 ? loss : (double)NAN;
}

static nb_code check_chance(nbi_sanity *w)
{
    const double factor = w->o.factor > 0 ? w->o.factor : w->rows->label ? 2 : 4;
    const nb_pass m = pass_of(w, false, has_statistics(w));
    const double loss = nb_value(apply_loss(w, plain_loss(w), &m, apply_model(w, &m)));
    const nb_code code = tell(w, "the loss at the beginning", w->why);
    if (code != NB_OK)
        return code;
    if (isnan(w->chance))
        return nbi_sanity_end(w, NB_SANITY_SKIPPED, loss, w->chance,
                              "the loss is %.4g; what guessing gives is not known", loss);
    const bool low = loss < w->chance / factor, high = !(loss <= w->chance * factor);
    return nbi_sanity_end(w, low || high ? NB_SANITY_FAILED : NB_SANITY_PASSED, loss, w->chance,
                          "the loss is %.4g, guessing gives %.4g%s", loss, w->chance,
                          high  ? ": is the scale of the first weights, or of the data, too large?"
                          : low ? ": does the model see what it is to predict, or does a term lack?"
                                : "");
}

/* ---- penalty --------------------------------------------------------------------------------- */

static nb_code check_penalty(nbi_sanity *w)
{
    const nb_sanity_options *o = &w->o;
    const bool known = o->l1 > 0 || o->l2 > 0;
    if (!known && !o->plain)
        return nbi_sanity_end(w, NB_SANITY_SKIPPED, (double)NAN, (double)NAN,
                              "no regularisers were told of: see l1, l2 and plain");
    const nb_pass m = pass_of(w, false, has_statistics(w));
    const nb_var y = apply_model(w, &m);
    const double loss = nb_value(apply_loss(w, w->l.loss, &m, y));
    const double more = loss - nb_value(apply_loss(w, o->plain, &m, y));
    const double wanted = known ? nb_value(nb_weight_penalty(&m, o->l1, o->l2)) : (double)NAN;
    const nb_code code = tell(w, "the loss with its regularisers", w->why);
    if (code != NB_OK)
        return code;
    const double rounding = (w->l.params->dtype == NB_F64 ? 0x1p-49 : 0x1p-20) * fabs(loss);
    const bool raised = more > rounding;
    const bool right = !known || fabs(more - wanted) <= 1e-3 * wanted + rounding;
    if (known)
        return nbi_sanity_end(w, raised && right ? NB_SANITY_PASSED : NB_SANITY_FAILED, more,
                              wanted,
                              "regularisers add %.4g to the loss of %.4g, and should add %.4g",
                              more, loss - more, wanted);
    return nbi_sanity_end(w, raised ? NB_SANITY_PASSED : NB_SANITY_FAILED, more, wanted,
                          "regularisers add %.4g to the loss of %.4g", more, loss - more);
}

/* ---- overfitting ----------------------------------------------------------------------------- */

/* One step; the loss before it to *loss. */
static nb_code learn(nbi_sanity *w, nb_optim *o, double limit, double *loss, nb_reason *why)
{
    nb_rewind(w->start);
    const nb_pass m = pass_of(w, true, has_statistics(w));
    const nb_var f = apply_loss(w, plain_loss(w), &m, apply_model(w, &m));
    *loss = nb_value(f);
    if (tell(w, "overfitting", why) != NB_OK || !isfinite(*loss) || *loss <= limit)
        return nb_status(w->t);
    return nb_backward(f) != NB_OK ? tell(w, "overfitting", why) : nb_optim_step(o, why);
}

static nb_code overfit(nbi_sanity *w, nb_optim *o)
{
    const long long rows = (long long)w->rows->rows;
    nb_reason why = {""};
    double loss = 0, first = 0, least = (double)INFINITY;
    double limit = isnan(w->chance) ? 0 : w->o.small * w->chance;
    for (int64_t step = 0; step <= w->o.steps; step++) {
        const nb_code code = learn(w, o, limit, &loss, &why);
        if (code != NB_OK && code != NB_ERR_ANOMALY)
            return nbi_because(w->why, code, "%s", why.text);
        if (code == NB_ERR_ANOMALY || !isfinite(loss))
            return nbi_sanity_end(
                w, NB_SANITY_FAILED, loss, limit,
                "the loss of %lld rows is %.4g after %lld steps, and it or its gradient not "
                "finite",
                rows, loss, (long long)step);
        if (!step) {
            first = loss;
            limit = isnan(w->chance) ? w->o.small * loss : limit;
        }
        least = loss < least ? loss : least;
        if (loss <= limit)
            return nbi_sanity_end(w, NB_SANITY_PASSED, least, limit,
                                  "the loss of %lld rows went from %.4g to %.2g in %lld steps",
                                  rows, first, loss, (long long)step);
    }
    return nbi_sanity_end(
        w, NB_SANITY_FAILED, least, limit,
        "the loss of %lld rows went from %.4g to %.4g in %lld steps, and not to %.4g", rows, first,
        least, (long long)w->o.steps, limit);
}

static nb_code check_overfit(nbi_sanity *w)
{
    const nb_optim_options adam = {.rule = nb_update_of(NB_ADAM), .rate = w->o.rate};
    nb_optim *o = nb_optim_new(w->l.params, &adam, w->why);
    const nb_code code = o ? overfit(w, o) : NB_ERR_MEMORY;
    nb_optim_free(o);
    return code;
}

/* ---- gradient -------------------------------------------------------------------------------- */

static nb_var gradient_loss(void *context, nb_tape *t)
{
    nbi_sanity *w = context, on_t = *w;
    on_t.t = t; /* it may be one of the check's own */
    const nb_pass m = pass_of(&on_t, true, true);
    return apply_loss(&on_t, w->l.loss, &m, apply_model(&on_t, &m));
}

static nb_code judge_gradient(nbi_sanity *w, const nb_check_report *r)
{
    const nb_check_coordinate *worst = r->n_worst ? &r->worst[0] : NULL;
    const double claim = worst ? worst->analytic : (double)NAN;
    const double slope = worst ? worst->numeric : (double)NAN;
    switch (r->verdict) {
    case NB_VERDICT_FAILED: return nbi_because(w->why, r->code, "sanity: gradient: %s", r->message);
    case NB_VERDICT_RIGHT:
        return nbi_sanity_end(w, NB_SANITY_PASSED, claim, slope,
                              "%zu of %zu elements agree with differences, or lie at a kink",
                              r->tested, r->n);
    case NB_VERDICT_UNTESTED:
    case NB_VERDICT_NOISY:
    case NB_VERDICT_KINK:
    case NB_VERDICT_STEP:
        return nbi_sanity_end(w, NB_SANITY_SKIPPED, claim, slope, "cannot be told: %s",
                              nb_verdict_text(r->verdict));
    default:
        return nbi_sanity_end(
            w, NB_SANITY_FAILED, claim, slope, "%s: %s is %.5g, by differences %.5g%s%s",
            nb_verdict_name(r->verdict), worst ? r->names[0] : "it", claim, slope,
            r->diagnosis == NB_DIAGNOSIS_NONE ? "" : "; ",
            r->diagnosis == NB_DIAGNOSIS_NONE ? "" : nb_diagnosis_name(r->diagnosis));
    }
}

static nb_code check_gradient(nbi_sanity *w)
{
    const nb_params *p = w->l.params;
    nb_check_parameter *list;
    size_t bytes, n = 0;
    if (__builtin_mul_overflow((size_t)p->params.count, sizeof *list, &bytes) ||
        !(list = nb_resize(w->o.allocator, NULL, 0, bytes)))
        return nbi_because(w->why, NB_ERR_MEMORY, "sanity: no memory for a list of parameters");
    for (int32_t i = 0; i < p->params.count; i++) {
        const nbi_entry *e = &p->params.entry[i];
        if (!e->frozen)
            list[n++] = (nb_check_parameter){e->name, e->shape,
                                             nbi_element_place(p->params.data, p->dtype, e->offset),
                                             nbi_element_place(p->grads, p->dtype, e->offset)};
    }
    nb_check_options o = {.seed = w->o.seed,
                          .all_up_to = ALL_UP_TO,
                          .sample = SAMPLE,
                          .batch = w->rows->rows,
                          .dtype = p->dtype};
    if (w->o.allocator)
        o.allocator = *w->o.allocator;
    nb_check_report r;
    nb_check_model(&(nb_check_model_spec){w->t, gradient_loss, w, n, list}, &o, &r);
    nb_resize(w->o.allocator, list, bytes, 0);
    return judge_gradient(w, &r);
}

nb_code (*const nbi_sanity_check[NB_SANITY_COUNT])(nbi_sanity *) = {check_chance, check_penalty,
                                                                    check_overfit, check_gradient};
