/*
 * Layers that behave differently in training and afterwards: batch norm and dropout; with the norms
 * that do not, and Monte-Carlo dropout.
 *
 * Monte-Carlo dropout takes a network that was trained with dropout as a sample of many networks: the
 * spread of their answers says how sure they are. Mean and spread are updated pass by pass (Welford):
 *
 *     d = y - mean,   mean += d / k,   sum += d (y - mean),   spread = sqrt(sum / (passes - 1))
 *
 * so that no pass is kept, and nothing cancels where the spread is small beside the mean.
 */
#include "layer.h"
#include "model.h"
#include "refuse.h"

#include <math.h>

static const nb_init ones = {NB_INIT_CONSTANT, 1, 0}, zeros = {NB_INIT_ZEROS, 0, 0};
static const nb_param_options usual = {.parts = 1};

/* ---- norms ----------------------------------------------------------------------------------- */

/* Adds a statistic; where it begins, or -1. */
static int64_t statistic(nb_params *p, const char *layer, const char *suffix, int64_t n,
                         double value)
{
    char name[NBI_NAME];
    if (!nbi_name_of(p, name, layer, suffix))
        return -1;
    const int32_t i = nb_params_add_statistic(p, name, n, value);
    return i < 0 ? -1 : nb_params_statistic_info(p, i).offset;
}

nb_batch_norm_layer nb_batch_norm_new(nb_params *p, const char *name, int64_t channels)
{
    nb_batch_norm_layer l = {.channels = channels, .eps = 1e-5, .momentum = 0.1};
    l.gain = nbi_add(p, name, "gain", NB_SHAPE(channels), usual, ones, NULL);
    l.bias = nbi_add(p, name, "bias", NB_SHAPE(channels), usual, zeros, NULL);
    l.mean = statistic(p, name, "mean", channels, 0);
    l.variance = statistic(p, name, "variance", channels, 1);
    return l;
}

nb_var nb_batch_norm_apply(const nb_batch_norm_layer *l, const nb_pass *m, nb_var x)
{
    nb_var gain = nb_pass_var(m, l->gain), bias = nb_pass_var(m, l->bias), out;
    if (!nbi_usable("batch_norm", 1, &x, &out))
        return out;
    const int64_t n = nb_params_statistic_size(m->params) - l->channels;
    if (l->mean < 0 || l->variance < 0 || l->mean > n || l->variance > n || !m->statistics)
        return nbi_refuse("batch_norm", NB_ERR_ARGUMENT, 1, &x,
                          "the layer has no statistics among the parameters of this pass", NULL);
    const nb_running running = {.channels = l->channels,
                                .mean = m->statistics + l->mean,
                                .variance = m->statistics + l->variance,
                                .momentum = l->momentum,
                                .hold = m->hold};
    return nb_batch_norm(x, gain, bias, l->eps, &running, m->training);
}

static nb_norm_layer norm_new(nb_params *p, const char *name, nb_shape shape, bool rms)
{
    nb_norm_layer l = {.bias = NB_NO_PARAM, .last = shape.rank, .rms = rms, .eps = 1e-5};
    l.gain = nbi_add(p, name, "gain", shape, usual, ones, NULL);
    if (!rms)
        l.bias = nbi_add(p, name, "bias", shape, usual, zeros, NULL);
    return l;
}

nb_norm_layer nb_layer_norm_new(nb_params *p, const char *name, nb_shape shape)
{
    return norm_new(p, name, shape, false);
}

nb_norm_layer nb_rms_norm_new(nb_params *p, const char *name, nb_shape shape)
{
    return norm_new(p, name, shape, true);
}

nb_var nb_norm_apply(const nb_norm_layer *l, const nb_pass *m, nb_var x)
{
    nb_var gain = nb_pass_var(m, l->gain), bias = nb_pass_var(m, l->bias);
    return l->rms ? nb_rms_norm(x, l->last, gain, bias, l->eps)
                  : nb_layer_norm(x, l->last, gain, bias, l->eps);
}

/* ---- dropout --------------------------------------------------------------------------------- */

nb_var nb_dropout_apply(const nb_pass *m, nb_var x, double probability)
{
    static const char who[] = "dropout";
    nb_var out;
    if (!nbi_usable(who, 1, &x, &out))
        return out;
    if (!(probability >= 0 && probability <= 1))
        return nbi_refuse(who, NB_ERR_ARGUMENT, 1, &x, "the probability lies outside [0, 1]",
                          "it is %g", probability);
    if (!m->training && !m->sampling)
        return x;
    if (!m->rng)
        return nbi_refuse(who, NB_ERR_ARGUMENT, 1, &x, "the pass has no random numbers", NULL);
    return nb_dropout(x, probability, m->rng);
}

static void take_in(nb_var y, int k, int64_t n, double *mean, double *spread)
{
    const void *data = nb_data(y);
    const nb_dtype dtype = nb_tape_dtype(y.tape);
    for (int64_t i = 0; i < n; i++) {
        const double v = data ? nbi_load(data, dtype, i) : nb_value(y), d = v - mean[i];
        mean[i] += d / k;
        spread[i] += d * (v - mean[i]);
    }
}

nb_code nb_monte_carlo(const nb_pass *m, nb_rng *r, int passes,
                       nb_var (*model)(void *context, const nb_pass *m, nb_var x), void *context,
                       nb_var x, int64_t n, double *mean, double *spread)
{
    static const char who[] = "monte_carlo";
    nb_var out;
    if (!m || !m->tape || !nbi_usable(who, 1, &x, &out))
        return m && m->tape ? nb_status(m->tape) : NB_ERR_ARGUMENT;
    if (!r || passes < 2 || !model || n < 0 || !mean || !spread) {
        nbi_refuse(who, NB_ERR_ARGUMENT, 1, &x,
                   "an argument is missing, or there are too few passes", "%d passes", passes);
        return nb_status(m->tape);
    }
    nb_pass sample = *m;
    sample.training = false;
    sample.sampling = true;
    sample.rng = r;
    const bool recording = nb_set_recording(m->tape, false);
    const nb_mark start = nb_tape_mark(m->tape);
    for (int64_t i = 0; i < n; i++)
        mean[i] = spread[i] = 0;
    for (int k = 1; k <= passes && nb_status(m->tape) == NB_OK; k++) {
        nb_var y = model(context, &sample, x);
        if (nbi_usable(who, 1, &y, &out) && nb_size(y) != n)
            nbi_refuse(who, NB_ERR_SHAPE, 1, &y, "the results have another size",
                       "room for %lld was given", (long long)n);
        else if (nb_ok(y))
            take_in(y, k, n, mean, spread);
        nb_rewind(start);
    }
    const bool good = nb_status(m->tape) == NB_OK;
    for (int64_t i = 0; i < n; i++) {
        mean[i] = good ? mean[i] : (double)NAN;
        spread[i] = good ? sqrt(spread[i] / (passes - 1)) : (double)NAN;
    }
    nb_set_recording(m->tape, recording);
    return nb_status(m->tape);
}
