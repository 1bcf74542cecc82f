/*
 * Convolution as a layer, and the block that images go through: convolution, batch norm, activation,
 * pooling, in this order. Relu and its like are monotonic, so taking the maximum before or after them is
 * the same; norms go first because they are to centre what the activation cuts.
 */
#include "layer.h"
#include "refuse.h"

nb_conv_layer nb_conv_new(nb_params *p, const char *name, int axes, int64_t in, int64_t out,
                          const int64_t *kernel, const nb_conv_options *conv,
                          const nb_layer_options *o, nb_rng *r)
{
    const nb_layer_options none = {.no_bias = false};
    const nb_conv_options plain = {.groups = 0};
    nb_conv_layer l = {NB_NO_PARAM, NB_NO_PARAM, axes, conv ? *conv : plain};
    const int64_t groups = l.options.groups ? l.options.groups : 1;
    o = o ? o : &none;
    if (axes < 1 || axes > 2 || !kernel || groups < 1 || in % groups || out % groups) {
        nb_params_refuse(
            p, NB_ERR_ARGUMENT,
            "conv: \"%.99s\": %d axes (1 or 2), %lld to %lld channels in %lld groups%s",
            name ? name : "", axes, (long long)in, (long long)out, (long long)groups,
            kernel ? "" : ", no kernel");
        return l;
    }
    const nb_shape w = {2 + axes, {out, in / groups, kernel[0], axes > 1 ? kernel[1] : 0}};
    const nb_param_options weight = {.init = o->weight, .fans = nb_fans_conv(w, groups, false)};
    l.w = nbi_add(p, name, "w", w, weight, (nb_init){.rule = NB_INIT_HE_NORMAL}, r);
    if (l.w >= 0 && !o->no_bias)
        l.b = nbi_add(p, name, "b", NB_SHAPE(out), (nb_param_options){.init = o->bias},
                      (nb_init){.rule = NB_INIT_ZEROS}, r);
    return l;
}

nb_var nb_conv_apply(const nb_conv_layer *l, const nb_pass *m, nb_var x)
{
    nb_var w = nb_pass_var(m, l->w), b = nb_pass_var(m, l->b);
    return l->axes == 1 ? nb_conv1d(x, w, b, &l->options) : nb_conv2d(x, w, b, &l->options);
}

nb_conv_block nb_conv_block_new(nb_params *p, const char *name, int axes, int64_t in, int64_t out,
                                const int64_t *kernel, const nb_conv_block_options *o, nb_rng *r)
{
    nb_conv_block l = {.norm = {.gain = NB_NO_PARAM}};
    if (o)
        l.options = *o;
    l.options.f = l.options.f ? l.options.f : nb_relu;
    for (int k = 0; k < 2; k++)
        l.options.window[k] = l.options.window[k] ? l.options.window[k] : 2;
    const nb_layer_options conv = {.weight = l.options.weight, .no_bias = l.options.batch_norm};
    l.conv = nb_conv_new(p, name, axes, in, out, kernel, &l.options.conv, &conv, r);
    if (l.options.batch_norm)
        l.norm = nb_batch_norm_new(p, name, out);
    return l;
}

static nb_var pool(const nb_conv_block *l, nb_var x)
{
    const int64_t *window = l->options.window;
    const nb_pool_options *o = &l->options.pool;
    const bool one = l->conv.axes == 1;
    switch (l->options.pooling) {
    case NB_POOL_NONE: return x;
    case NB_POOL_MAX:
        return one ? nb_max_pool1d(x, window[0], o) : nb_max_pool2d(x, window[0], window[1], o);
    case NB_POOL_AVERAGE:
        return one ? nb_average_pool1d(x, window[0], o)
                   : nb_average_pool2d(x, window[0], window[1], o);
    }
    return nbi_refuse("conv_block", NB_ERR_ARGUMENT, 1, &x, "there is no such pooling", "%d",
                      (int)l->options.pooling);
}

nb_var nb_conv_block_apply(const nb_conv_block *l, const nb_pass *m, nb_var x)
{
    nb_var y = nb_conv_apply(&l->conv, m, x);
    if (l->options.batch_norm)
        y = nb_batch_norm_apply(&l->norm, m, y);
    y = l->options.f(y);
    return nb_ok(y) ? pool(l, y) : y;
}
