/*
 * The transposed convolution: convolution as a linear map of x, transposed.
 *
 *     x[n, c, i] = b[c] + sum over m, k of w[m, c, k] y[n, m, o]     where o stride - padding +
 *                                                                    k dilation = i
 *
 * It takes an array of the shape of a convolution's result (here its first operand) to one of the
 * shape of its input: each element of y paints the window, weighted, where the convolution would have
 * read it. The rules follow from the trilinear form, see conv.c; with h the adjoint of the result,
 *
 *     dy = conv(h, w),   dw = conv_weight(h, y),   db = the sum of h over images and places.
 */
#include "ops/convolution.h"
#include "ops/records.h"

static nb_code shape(const nb_call *c, nb_shape *out)
{
    nbi_conv_state *s = c->state;
    if (!nbi_conv_begin(c, "w") || !nbi_conv_back_shape(c, c->in[0].dims, c->in[1].dims) ||
        !nbi_conv_bias(c, s->conv.groups * s->conv.c))
        return NB_ERR_SHAPE;
    *out = nbi_conv_shape(s, false);
    return NB_OK;
}

static nb_code forward(const nb_call *c)
{
    const nb_array *bias = c->n_in > 2 ? &c->in[2] : NULL;
    bool done = nbi_conv_back(c, &c->in[0], &c->in[1], bias, c->out, false);
    return done ? NB_OK : NB_ERR_MEMORY;
}

static nb_code reverse(const nb_rule *r)
{
    if (r->want[0])
        r->d[0] = nbi_conv_graph(r->g, r->in[1], r->state);
    if (r->want[1])
        r->d[1] = nbi_conv_weight_graph(r->g, r->in[0], r->state);
    if (r->n_in > 2 && r->want[2])
        r->d[2] = nbi_conv_bias_graph(r->g, r->state);
    return NB_OK;
}

static nb_code reverse_arrays(const nb_call *c, const nb_array *g, nb_array *const *gin,
                              const bool *add)
{
    bool done = true;
    if (gin[0])
        done = nbi_conv_forward(c, g, &c->in[1], NULL, gin[0], add[0]);
    if (gin[1])
        done = done && nbi_conv_weight(c, g, &c->in[0], gin[1], add[1]);
    if (c->n_in > 2 && gin[2])
        nbi_conv_channel_sums(c, g, gin[2], add[2]);
    return done ? NB_OK : NB_ERR_MEMORY;
}

static nb_var sample(nb_sampler *s, int k)
{
    static const struct {
        nb_shape y, w;
        nb_conv_options o;
        bool bias;
    } sample[] = {
        {{3, {2, 3, 3}}, {3, {3, 2, 3}}, {.groups = 1}, true},
        {{3, {1, 1, 1}}, {3, {1, 1, 1}}, {.groups = 0}, false},
        {{3, {1, 2, 4}}, {3, {2, 1, 3}}, {.stride = {2}, .padding = {1}, .output_padding = {1}}, true},
        {{4, {1, 2, 2, 3}}, {4, {2, 2, 3, 2}}, {.padding = {1, 0}}, true},
        {{4, {2, 2, 2, 2}}, {4, {2, 2, 2, 2}}, {.groups = 2, .stride = {3, 2}}, false},
        {{4, {1, 1, 2, 3}}, {4, {1, 2, 2, 2}}, {.stride = {2, 2}, .dilation = {2, 3}}, true},
        {{4, {1, 1, 1, 3}}, {4, {1, 1, 2, 1}}, {.stride = {5, 2}, .output_padding = {3, 0}}, true},
        {{4, {0, 2, 3, 3}}, {4, {2, 2, 2, 2}}, {.groups = 1}, true},
        {{4, {2, 0, 2, 2}}, {4, {0, 2, 2, 2}}, {.groups = 1}, true},
    };
    if (k >= (int)(sizeof sample / sizeof *sample))
        return NB_NONE;
    nb_var y = nb_sample(s, sample[k].y, -2, 2), w = nb_sample(s, sample[k].w, -2, 2), b = NB_NONE;
    const int64_t groups = sample[k].o.groups ? sample[k].o.groups : 1;
    if (sample[k].bias)
        b = nb_sample(s, NB_SHAPE(sample[k].w.dims[1] * groups), -2, 2);
    return sample[k].y.rank == 3 ? nb_conv_transposed1d(y, w, b, &sample[k].o)
                                 : nb_conv_transposed2d(y, w, b, &sample[k].o);
}

const nb_op nbi_op_conv_transposed = {
    .name = "conv_transposed",
    .doc = "convolution, transposed as a linear map",
    .shape = shape,
    .forward = forward,
    .reverse = reverse,
    .reverse_arrays = reverse_arrays,
    .overwrites = true,
    .sample = sample,
};

nb_var(nb_conv_transposed1d)(nb_var x, nb_var w, nb_var b, const nb_conv_options *options)
{
    const nbi_conv_state s = nbi_conv_start(1, options);
    return nbi_conv_apply(&nbi_op_conv_transposed, x, w, b, &s);
}

nb_var(nb_conv_transposed2d)(nb_var x, nb_var w, nb_var b, const nb_conv_options *options)
{
    const nbi_conv_state s = nbi_conv_start(2, options);
    return nbi_conv_apply(&nbi_op_conv_transposed, x, w, b, &s);
}
