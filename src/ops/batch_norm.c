/*
 * Batch norm: each channel of x [n c …] to mean 0 and variance 1 over the batch.
 *
 *     training     y = (x - m) / sqrt(v + eps) gain + bias      m, v the mean and variance of the
 *                                                               channel's elements in this batch
 *     evaluation   the same with m and v the running ones, which do not depend on x:
 *                  dx = g gain / sqrt(v + eps)
 *
 * In training the running statistics move towards those of the batch once per call:
 *
 *     mean += momentum (m - mean)         variance += momentum (v n / (n - 1) - variance)
 *
 * where n is the number of elements of a channel: the running variance estimates that of the
 * population. This is no part of the recorded function: rules that record the operation again, for
 * higher derivatives, pass no running statistics; and it is done only after the node was recorded.
 *
 * A channel of one element has no variance, and one of no element no mean: both are errors in
 * training. The rules are those of norms.c.
 */
#include "ops/normal.h"

#include "ops/array.h"
#include "ops/records.h"
#include "tape/tape.h"
#include <nabla/ops.h>

#include <math.h>

static nb_code check_past(const nb_call *c, int64_t channels)
{
    const nbi_normal *s = c->state;
    const nb_running *past = s->past;
    if (!past)
        return s->training
                   ? NB_OK
                   : nb_refuse(c, NB_ERR_ARGUMENT, "evaluation needs running statistics", NULL);
    if (!past->mean || !past->variance)
        return nb_refuse(c, NB_ERR_ARGUMENT, "the running statistics have NULL arrays", NULL);
    if (past->channels != channels)
        return nb_refuse(c, NB_ERR_SHAPE, "the running statistics do not fit",
                         "they are of %lld channels, x has %lld", (long long)past->channels,
                         (long long)channels);
    if (!(past->momentum >= 0 && past->momentum <= 1))
        return nb_refuse(c, NB_ERR_ARGUMENT, "the momentum lies outside [0, 1]", "it is %g",
                         past->momentum);
    for (int64_t i = 0; i < channels && !s->training; i++)
        if (past->variance[i] < 0)
            return nb_refuse(c, NB_ERR_ARGUMENT, "a running variance is negative",
                             "channel %lld has %g", (long long)i, past->variance[i]);
    return NB_OK;
}

static nb_code batch_shape(const nb_call *c, nb_shape *out)
{
    (void)out; /* that of x */
    nbi_normal *s = c->state;
    const nb_array *x = &c->in[0];
    nb_code code = nbi_normal_channels(c);
    if (code != NB_OK)
        return code;
    s->n = (nbi_norm){.outer = x->dims[0],
                      .groups = 1,
                      .channels = x->dims[1],
                      .inner = nbi_normal_product(x->rank - 2, x->dims + 2),
                      .columns = true,
                      .centred = true,
                      .given = !s->training,
                      .eps = s->eps};
    code = nbi_normal_affine(c, NB_SHAPE(x->dims[1]));
    code = code == NB_OK ? check_past(c, x->dims[1]) : code;
    if (code != NB_OK || !s->training || x->dims[1] == 0)
        return code;
    const int64_t each = x->size / x->dims[1];
    if (each < 2)
        return nb_refuse(c, NB_ERR_EMPTY, "needs more than one element per channel while training",
                         "each channel has %lld", (long long)each);
    return NB_OK;
}

static nb_code batch_forward(const nb_call *c)
{
    nbi_normal *s = c->state;
    if (s->training)
        return nbi_normal_forward(c);
    if (nbi_normal_room(c) != NB_OK)
        return NB_ERR_MEMORY;
    for (int64_t i = 0; c->in[0].size && i < s->n.channels; i++) {
        const double total = s->past->variance[i] + s->eps;
        s->n.mean[i] = s->past->mean[i];
        s->n.scale[i] = 1;
        s->n.rate[i] = total == 0 ? 0 : 1 / sqrt(total);
    }
    s->past = NULL;
    return nbi_normal_forward_given(c);
}

static nb_var batch_sample(nb_sampler *s, int k)
{
    static double mean[] = {0.5, -1, 0.25, 2}, variance[] = {1, 0.5, 2, 4};
    static const struct {
        nb_shape x;
        bool gain, bias, training;
    } sample[] = {
        {{2, {5, 3}}, true, true, true},        {{3, {2, 3, 4}}, true, true, true},
        {{4, {2, 2, 3, 2}}, false, true, true}, {{2, {3, 1}}, true, false, true},
        {{3, {1, 2, 5}}, false, false, true},   {{2, {5, 3}}, true, true, false},
        {{3, {2, 3, 4}}, true, false, false},   {{2, {1, 2}}, false, true, false},
        {{3, {0, 3, 4}}, true, true, false},    {{2, {3, 0}}, true, true, true},
    };
    if (k >= (int)(sizeof sample / sizeof *sample))
        return NB_NONE;
    const int64_t c = sample[k].x.dims[1];
    nb_running past = {.channels = c, .mean = mean, .variance = variance};
    nb_var x = nb_sample(s, sample[k].x, -2, 2);
    nb_var gain = sample[k].gain ? nb_sample(s, NB_SHAPE(c), 0.5, 2) : NB_NONE;
    nb_var bias = sample[k].bias ? nb_sample(s, NB_SHAPE(c), -2, 2) : NB_NONE;
    return nb_batch_norm(x, gain, bias, 1e-5, sample[k].training ? NULL : &past,
                         sample[k].training);
}

const nb_op nbi_op_batch_norm = {
    .name = "batch_norm",
    .doc = "each channel to mean 0 and variance 1 over the batch, times a gain, plus a bias",
    .shape = batch_shape,
    .forward = batch_forward,
    .reverse = nbi_normal_reverse,
    .reverse_arrays = nbi_normal_reverse_arrays,
    .overwrites = true,
    .sample = batch_sample,
};

/* Moves the running statistics towards those of the node's batch. */
static void follow(const nb_running *past, const nbi_norm *n)
{
    const double count = (double)nbi_norm_size(n);
    for (int64_t i = 0; i < n->channels; i++) {
        const double q = n->scale[i], v = n->variance[i] / q / q * (count / (count - 1));
        past->mean[i] += past->momentum * (n->mean[i] / q - past->mean[i]);
        past->variance[i] += past->momentum * (v - past->variance[i]);
    }
}

nb_var(nb_batch_norm)(nb_var x, nb_var gain, nb_var bias, double eps, const nb_running *running,
                      bool training)
{
    nbi_normal s = {.eps = eps, .past = running, .training = training};
    nb_var y = nbi_normalised(&nbi_op_batch_norm, x, gain, bias, &s);
    if (nb_ok(y) && running && training && !running->hold) {
        const nbi_normal *done = nbi_record_at(y.tape, y.index)->state;
        follow(running, &done->n);
    }
    return y;
}
