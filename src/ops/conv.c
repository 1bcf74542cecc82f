/*
 * Convolution, and the operation that is its derivative by the weights.
 *
 *     conv          y[n, m, o] = b[m] + sum over c, k of w[m, c, k] x[n, c, i]
 *     conv_weight   w[m, c, k] = sum over n, o of x[n, c, i] y[n, m, o]
 *                                            i = o stride - padding + k dilation, inside x
 *
 * Written with the trilinear form T(x, w, y) of kernels/conv.h, conv is the gradient of T by y,
 * conv_weight that by w, and conv_transposed that by x. Each of the three is linear in its two
 * operands, so with g the adjoint of its result, its reverse rule is T with g in the result's place,
 * differentiated by one operand:
 *
 *     conv(x, w)             dx = transposed(g, w)      dw = weight(x, g)
 *     transposed(y, w)       dy = conv(g, w)            dw = weight(g, y)
 *     weight(x, y)           dx = transposed(y, g)      dy = conv(x, g)
 *
 * The three close among themselves, to any order. The bias was broadcast over images and places, so
 * its adjoint is the sum over them.
 */
#include "ops/convolution.h"
#include "ops/records.h"

/* ---- graph ----------------------------------------------------------------------------------- */

nb_var nbi_conv_graph(nb_var x, nb_var w, const nbi_conv_state *s)
{
    nb_conv_options o = s->o;
    o.output_padding[0] = o.output_padding[1] = 0;
    return s->axes == 1 ? nb_conv1d(x, w, NB_NONE, &o) : nb_conv2d(x, w, NB_NONE, &o);
}

nb_var nbi_conv_transposed_graph(nb_var y, nb_var w, const nbi_conv_state *s)
{
    nb_conv_options o = s->o;
    for (int i = 0; i < s->axes; i++) { /* what the rounding down of the size left over */
        const nbi_conv_axis *a = &s->conv.axis[2 - s->axes + i];
        const int64_t span = (a->taps - 1) * a->dilation + 1;
        o.output_padding[i] = a->in + 2 * a->pad - span - (a->out - 1) * a->stride;
    }
    return s->axes == 1 ? nb_conv_transposed1d(y, w, NB_NONE, &o)
                        : nb_conv_transposed2d(y, w, NB_NONE, &o);
}

nb_var nbi_conv_weight_graph(nb_var x, nb_var y, const nbi_conv_state *s)
{
    nbi_conv_state of = *s;
    for (int i = 0; i < 2; i++) {
        of.taps[i] = s->conv.axis[i].taps;
        of.o.output_padding[i] = 0;
    }
    if (s->axes == 1)
        of.taps[0] = of.taps[1];
    return nbi_conv_apply(&nbi_op_conv_weight, x, y, NB_NONE, &of);
}

nb_var nbi_conv_bias_graph(nb_var g, const nbi_conv_state *s)
{
    return nb_sum_over(g, s->axes == 1 ? NB_AXES(0, 2) : NB_AXES(0, 2, 3), false);
}

/* ---- conv ------------------------------------------------------------------------------------ */

static nb_code conv_shape(const nb_call *c, nb_shape *out)
{
    nbi_conv_state *s = c->state;
    if (!nbi_conv_begin(c, "w") || !nbi_conv_forward_shape(c, c->in[0].dims, c->in[1].dims) ||
        !nbi_conv_bias(c, c->in[1].dims[0]))
        return NB_ERR_SHAPE;
    *out = nbi_conv_shape(s, true);
    return NB_OK;
}

static nb_code conv_forward(const nb_call *c)
{
    const nb_array *bias = c->n_in > 2 ? &c->in[2] : NULL;
    bool done = nbi_conv_forward(c, &c->in[0], &c->in[1], bias, c->out, false);
    return done ? NB_OK : NB_ERR_MEMORY;
}

static nb_code conv_reverse(const nb_rule *r)
{
    if (r->want[0])
        r->d[0] = nbi_conv_transposed_graph(r->g, r->in[1], r->state);
    if (r->want[1])
        r->d[1] = nbi_conv_weight_graph(r->in[0], r->g, r->state);
    if (r->n_in > 2 && r->want[2])
        r->d[2] = nbi_conv_bias_graph(r->g, r->state);
    return NB_OK;
}

static nb_code conv_reverse_arrays(const nb_call *c, const nb_array *g, nb_array *const *gin,
                                   const bool *add)
{
    bool done = true;
    if (gin[0])
        done = nbi_conv_back(c, g, &c->in[1], NULL, gin[0], add[0]);
    if (gin[1])
        done = done && nbi_conv_weight(c, &c->in[0], g, gin[1], add[1]);
    if (c->n_in > 2 && gin[2])
        nbi_conv_channel_sums(c, g, gin[2], add[2]);
    return done ? NB_OK : NB_ERR_MEMORY;
}

/* The sum of two tangents, either of which may be missing. */
static nb_var sum_of(nb_var a, bool has_a, nb_var b, bool has_b)
{
    return has_a && has_b ? nb_add(a, b) : has_a ? a : b;
}

/* A bias's tangent, of the shape of the result. */
static nb_var bias_tangent(const nb_rule *r)
{
    const nbi_conv_state *s = r->state;
    nb_shape wide = NB_SHAPE(1, nb_dim(r->t[2], 0), 1, 1);
    wide.rank = s->axes + 2;
    return nb_expand(nb_reshape(r->t[2], wide), nb_shape_of(r->out));
}

static nb_code conv_tangent(const nb_rule *r)
{
    const bool bias = r->n_in > 2 && r->want[2];
    nb_var a = NB_NONE, b = NB_NONE;
    if (r->want[0])
        a = nbi_conv_graph(r->t[0], r->in[1], r->state);
    if (r->want[1])
        b = nbi_conv_graph(r->in[0], r->t[1], r->state);
    a = sum_of(a, r->want[0], b, r->want[1]);
    r->d[0] = bias ? sum_of(a, r->want[0] || r->want[1], bias_tangent(r), true) : a;
    return NB_OK;
}

static nb_var conv_sample(nb_sampler *s, int k)
{
    static const struct {
        nb_shape x, w;
        nb_conv_options o;
        bool bias;
    } sample[] = {
        {{3, {2, 2, 5}}, {3, {3, 2, 3}}, {.groups = 1}, true},
        {{3, {1, 1, 1}}, {3, {1, 1, 1}}, {.groups = 0}, false},
        {{3, {2, 1, 7}}, {3, {2, 1, 2}}, {.stride = {2}, .padding = {1}, .dilation = {2}}, true},
        {{4, {1, 2, 4, 3}}, {4, {2, 2, 3, 2}}, {.padding = {1, 1}}, true},
        {{4, {2, 2, 3, 4}}, {4, {2, 1, 2, 2}}, {.groups = 2, .stride = {1, 2}}, false},
        {{4, {1, 1, 5, 6}}, {4, {1, 1, 2, 3}}, {.stride = {2, 3}, .padding = {0, 2}}, true},
        {{4, {1, 1, 4, 7}}, {4, {2, 1, 2, 2}}, {.stride = {2, 2}, .dilation = {2, 3}}, false},
        {{4, {2, 3, 2, 2}}, {4, {2, 3, 1, 1}}, {.groups = 1}, true},
        {{4, {1, 1, 2, 3}}, {4, {1, 1, 3, 3}}, {.padding = {3, 3}, .stride = {4, 1}}, false},
        {{4, {0, 2, 4, 4}}, {4, {3, 2, 3, 3}}, {.groups = 1}, true},
        {{4, {2, 0, 3, 3}}, {4, {2, 0, 2, 2}}, {.groups = 1}, true},
        {{4, {2, 1, 0, 3}}, {4, {2, 1, 2, 2}}, {.padding = {1, 1}}, true},
    };
    if (k >= (int)(sizeof sample / sizeof *sample))
        return NB_NONE;
    nb_var x = nb_sample(s, sample[k].x, -2, 2), w = nb_sample(s, sample[k].w, -2, 2), b = NB_NONE;
    if (sample[k].bias)
        b = nb_sample(s, NB_SHAPE(sample[k].w.dims[0]), -2, 2);
    return sample[k].x.rank == 3 ? nb_conv1d(x, w, b, &sample[k].o)
                                 : nb_conv2d(x, w, b, &sample[k].o);
}

const nb_op nbi_op_conv = {
    .name = "conv",
    .doc = "convolution of signals or images with weights",
    .shape = conv_shape,
    .forward = conv_forward,
    .reverse = conv_reverse,
    .reverse_arrays = conv_reverse_arrays,
    .overwrites = true,
    .tangent = conv_tangent,
    .sample = conv_sample,
};

nb_var(nb_conv1d)(nb_var x, nb_var w, nb_var b, const nb_conv_options *options)
{
    const nbi_conv_state s = nbi_conv_start(1, options);
    return nbi_conv_apply(&nbi_op_conv, x, w, b, &s);
}

nb_var(nb_conv2d)(nb_var x, nb_var w, nb_var b, const nb_conv_options *options)
{
    const nbi_conv_state s = nbi_conv_start(2, options);
    return nbi_conv_apply(&nbi_op_conv, x, w, b, &s);
}

/* ---- conv_weight ----------------------------------------------------------------------------- */

/* From the shapes of x and y that of w: channels and taps fix it, and y's must be those that it would
 * lead to. */
static nb_code weight_shape(const nb_call *c, nb_shape *out)
{
    nbi_conv_state *s = c->state;
    if (!nbi_conv_begin(c, "y"))
        return NB_ERR_SHAPE;
    const int64_t *x = c->in[0].dims, *y = c->in[1].dims;
    const int64_t w[4] = {y[1], x[1] / s->o.groups, s->taps[0], s->taps[1]};
    if (!nbi_conv_forward_shape(c, x, w))
        return NB_ERR_SHAPE;
    const nb_shape would = nbi_conv_shape(s, true);
    for (int i = 0; i < s->axes + 2; i++)
        if (would.dims[i] != y[i])
            return nb_refuse(c, NB_ERR_SHAPE, "y does not fit x and the window",
                             "axis %d has %lld, x leads to %lld", i, (long long)y[i],
                             (long long)would.dims[i]);
    *out = nb_shape_make((size_t)s->axes + 2, w);
    return NB_OK;
}

static nb_code weight_forward(const nb_call *c)
{
    return nbi_conv_weight(c, &c->in[0], &c->in[1], c->out, false) ? NB_OK : NB_ERR_MEMORY;
}

static nb_code weight_reverse(const nb_rule *r)
{
    if (r->want[0])
        r->d[0] = nbi_conv_transposed_graph(r->in[1], r->g, r->state);
    if (r->want[1])
        r->d[1] = nbi_conv_graph(r->in[0], r->g, r->state);
    return NB_OK;
}

static nb_code weight_reverse_arrays(const nb_call *c, const nb_array *g, nb_array *const *gin,
                                     const bool *add)
{
    bool done = true;
    if (gin[0])
        done = nbi_conv_back(c, &c->in[1], g, NULL, gin[0], add[0]);
    if (gin[1])
        done = done && nbi_conv_forward(c, &c->in[0], g, NULL, gin[1], add[1]);
    return done ? NB_OK : NB_ERR_MEMORY;
}

static nb_code weight_tangent(const nb_rule *r)
{
    nb_var a = NB_NONE, b = NB_NONE;
    if (r->want[0])
        a = nbi_conv_weight_graph(r->t[0], r->in[1], r->state);
    if (r->want[1])
        b = nbi_conv_weight_graph(r->in[0], r->t[1], r->state);
    r->d[0] = sum_of(a, r->want[0], b, r->want[1]);
    return NB_OK;
}

static nb_var weight_sample(nb_sampler *s, int k)
{
    static const struct {
        nb_shape x, y;
        nb_conv_options o;
        int64_t taps[2];
    } sample[] = {
        {{3, {2, 2, 5}}, {3, {2, 3, 3}}, {.groups = 1}, {3}},
        {{3, {2, 1, 7}}, {3, {2, 2, 4}}, {.stride = {2}, .padding = {1}, .dilation = {2}}, {2}},
        {{4, {1, 2, 4, 3}}, {4, {1, 2, 4, 4}}, {.padding = {1, 1}}, {3, 2}},
        {{4, {2, 2, 3, 4}}, {4, {2, 2, 2, 2}}, {.groups = 2, .stride = {1, 2}}, {2, 2}},
        {{4, {0, 2, 3, 3}}, {4, {0, 3, 2, 2}}, {.groups = 1}, {2, 2}},
    };
    if (k >= (int)(sizeof sample / sizeof *sample))
        return NB_NONE;
    nbi_conv_state of = nbi_conv_start(sample[k].x.rank - 2, &sample[k].o);
    memcpy(of.taps, sample[k].taps, sizeof of.taps);
    nb_var x = nb_sample(s, sample[k].x, -2, 2), y = nb_sample(s, sample[k].y, -2, 2);
    return nbi_conv_apply(&nbi_op_conv_weight, x, y, NB_NONE, &of);
}

const nb_op nbi_op_conv_weight = {
    .name = "conv_weight",
    .doc = "the gradient of a convolution by its weights",
    .shape = weight_shape,
    .forward = weight_forward,
    .reverse = weight_reverse,
    .reverse_arrays = weight_reverse_arrays,
    .overwrites = true,
    .tangent = weight_tangent,
    .sample = weight_sample,
};
