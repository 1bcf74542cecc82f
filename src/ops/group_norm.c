/*
 * Group norm: x [n c …] with its channels in groups, each group of each of the n to mean 0 and variance
 * 1, then a gain and a bias per channel.
 *
 * The channels of a group lie side by side, so a group of one of the n is a line of c / groups times
 * the elements of a channel, and the rules are those of lines in norms.c; what differs is only that
 * line a meets the gains of group a mod groups. One group is layer norm over all but the first axis
 * with gains per channel; c groups are instance norm.
 */
#include "ops/normal.h"

#include "ops/array.h"
#include "ops/records.h"
#include <nabla/net.h>

static nb_code group_shape(const nb_call *c, nb_shape *out)
{
    (void)out; /* that of x */
    nbi_normal *s = c->state;
    const nb_array *x = &c->in[0];
    nb_code code = nbi_normal_channels(c);
    if (code != NB_OK)
        return code;
    if (s->groups < 1 || x->dims[1] % s->groups)
        return nb_refuse(c, NB_ERR_ARGUMENT, "the groups do not divide the channels",
                         "%lld groups, %lld channels", (long long)s->groups, (long long)x->dims[1]);
    s->n = (nbi_norm){.outer = nbi_normal_product(2, (int64_t[]){x->dims[0], s->groups}),
                      .groups = s->groups,
                      .channels = x->dims[1] / s->groups,
                      .inner = nbi_normal_product(x->rank - 2, x->dims + 2),
                      .centred = true,
                      .eps = s->eps};
    return nbi_normal_affine(c, NB_SHAPE(x->dims[1]));
}

static nb_var group_sample(nb_sampler *s, int k)
{
    static const struct {
        nb_shape x;
        int64_t groups;
        bool gain, bias;
    } sample[] = {
        {{4, {2, 4, 2, 3}}, 2, true, true}, {{3, {2, 3, 5}}, 1, true, false},
        {{3, {1, 3, 4}}, 3, false, true},   {{2, {3, 6}}, 2, true, true},
        {{3, {2, 3, 1}}, 1, false, false},  {{3, {0, 4, 2}}, 2, true, true},
        {{3, {2, 4, 0}}, 2, true, true},
    };
    if (k >= (int)(sizeof sample / sizeof *sample))
        return NB_NONE;
    nb_var x = nb_sample(s, sample[k].x, -2, 2);
    nb_shape affine = NB_SHAPE(sample[k].x.dims[1]);
    nb_var gain = sample[k].gain ? nb_sample(s, affine, 0.5, 2) : NB_NONE;
    nb_var bias = sample[k].bias ? nb_sample(s, affine, -2, 2) : NB_NONE;
    return nb_group_norm(x, sample[k].groups, gain, bias, 1e-5);
}

const nb_op nbi_op_group_norm = {
    .name = "group_norm",
    .doc = "groups of channels to mean 0 and variance 1, times a gain, plus a bias",
    .shape = group_shape,
    .forward = nbi_normal_forward,
    .reverse = nbi_normal_reverse,
    .reverse_arrays = nbi_normal_reverse_arrays,
    .overwrites = true,
    .sample = group_sample,
};

nb_var(nb_group_norm)(nb_var x, int64_t groups, nb_var gain, nb_var bias, double eps)
{
    nbi_normal s = {.groups = groups, .eps = eps};
    return nbi_normalised(&nbi_op_group_norm, x, gain, bias, &s);
}
