/*
 * Layers made of matrix products: linear, bilinear, maxout, stacks of linear ones, tied autoencoders.
 *
 * The parameters of a stack are added one after another, so that the index of the first tells all. A
 * tied autoencoder decodes with the transposed weights, which is a flag of the matrix product, and needs
 * nothing said about gradients: w is one var used twice.
 */
#include "layer.h"

#include "refuse.h"

#include <math.h>
#include <nabla/algebra.h>

/* ---- making ---------------------------------------------------------------------------------- */

bool nbi_name_of(nb_params *p, char text[NBI_NAME], const char *layer, const char *suffix)
{
    const bool good =
        layer && *layer && snprintf(text, NBI_NAME, "%s.%s", layer, suffix) < NBI_NAME;
    if (!good)
        nb_params_refuse(p, NB_ERR_ARGUMENT,
                         "params: a layer's name is missing or too long: \"%.99s\"",
                         layer ? layer : "");
    return good;
}

nb_param nbi_add(nb_params *p, const char *layer, const char *suffix, nb_shape shape,
                 nb_param_options o, nb_init usual, nb_rng *r)
{
    char name[NBI_NAME];
    if (!nbi_name_of(p, name, layer, suffix))
        return NB_NO_PARAM;
    if (o.init.rule == NB_INIT_DEFAULT)
        o.init = usual;
    return nb_params_add(p, name, shape, &o, r);
}

nb_linear_layer nbi_linear(nb_params *p, const char *layer, nb_shape w, int64_t parts,
                           const nb_layer_options *o, nb_init usual, nb_rng *r)
{
    const nb_layer_options none = {.no_bias = false};
    nb_linear_layer l = {NB_NO_PARAM, NB_NO_PARAM};
    o = o ? o : &none;
    l.w =
        nbi_add(p, layer, "w", w, (nb_param_options){.init = o->weight, .parts = parts}, usual, r);
    if (l.w >= 0 && !o->no_bias)
        l.b = nbi_add(p, layer, "b", NB_SHAPE(w.dims[1]), (nb_param_options){.init = o->bias},
                      (nb_init){.rule = NB_INIT_ZEROS}, r);
    return l;
}

static const nb_init glorot = {.rule = NB_INIT_GLOROT_UNIFORM};

nb_linear_layer nb_linear_new(nb_params *p, const char *name, int64_t in, int64_t out,
                              const nb_layer_options *o, nb_rng *r)
{
    return nbi_linear(p, name, NB_SHAPE(in, out), 1, o, glorot, r);
}

/* ---- linear ---------------------------------------------------------------------------------- */

static nb_var dense(nb_var x, nb_var w, nb_var b, nb_activation f)
{
    if (b.tape)
        return nb_dense(x, w, b, f);
    nb_var y = nb_matmul(x, w);
    return f ? f(y) : y;
}

nb_var nb_linear_apply(const nb_linear_layer *l, const nb_pass *m, nb_var x, nb_activation f)
{
    return dense(x, nb_pass_var(m, l->w), nb_pass_var(m, l->b), f);
}

nb_var nb_drop_connect_apply(const nb_linear_layer *l, const nb_pass *m, nb_var x, nb_activation f,
                             double probability)
{
    nb_var w = nb_dropout_apply(m, nb_pass_var(m, l->w), probability);
    return dense(x, w, nb_pass_var(m, l->b), f);
}

nb_var nb_residual(nb_var x, nb_var y)
{
    static const char who[] = "residual";
    const nb_var both[] = {x, y};
    nb_var out;
    if (!nbi_usable(who, 2, both, &out))
        return out;
    if (!nb_shape_equal(nb_shape_of(x), nb_shape_of(y)))
        return nbi_refuse(who, NB_ERR_SHAPE, 2, both, "the shapes differ", NULL);
    return nb_add(x, y);
}

/* ---- bilinear -------------------------------------------------------------------------------- */

nb_bilinear_layer nb_bilinear_new(nb_params *p, const char *name, int64_t in_x, int64_t in_z,
                                  int64_t out, const nb_layer_options *o, nb_rng *r)
{
    const nb_layer_options none = {.no_bias = false};
    nb_bilinear_layer l = {NB_NO_PARAM, NB_NO_PARAM};
    o = o ? o : &none;
    const nb_fans fans = {(double)in_x * (double)in_z, (double)out};
    l.w = nbi_add(p, name, "w", NB_SHAPE(in_x, out, in_z),
                  (nb_param_options){.init = o->weight, .fans = fans},
                  (nb_init){.rule = NB_INIT_LECUN_NORMAL}, r);
    if (l.w >= 0 && !o->no_bias)
        l.b = nbi_add(p, name, "b", NB_SHAPE(out), (nb_param_options){.init = o->bias},
                      (nb_init){.rule = NB_INIT_ZEROS}, r);
    return l;
}

nb_var nb_bilinear_apply(const nb_bilinear_layer *l, const nb_pass *m, nb_var x, nb_var z)
{
    nb_var w = nb_pass_var(m, l->w), b = nb_pass_var(m, l->b);
    nb_var y = nb_einsum("...i,ikj,...j->...k", x, w, z);
    return b.tape ? nb_add(y, b) : y;
}

/* ---- lookup ---------------------------------------------------------------------------------- */

nb_embedding_layer nb_embedding_new(nb_params *p, const char *name, int64_t rows, int64_t width,
                                    const nb_layer_options *o, nb_rng *r)
{
    const nb_init usual = {NB_INIT_NORMAL, 0, width > 0 ? 1 / sqrt((double)width) : 0};
    const nb_param_options table = {.init = o ? o->weight : usual};
    return (nb_embedding_layer){nbi_add(p, name, "table", NB_SHAPE(rows, width), table, usual, r)};
}

nb_var nb_embedding_apply(const nb_embedding_layer *l, const nb_pass *m, nb_shape shape,
                          const int64_t *index)
{
    return nb_embedding(nb_pass_var(m, l->table), shape, index);
}

/* ---- maxout ---------------------------------------------------------------------------------- */

nb_maxout_layer nb_maxout_new(nb_params *p, const char *name, int64_t in, int64_t out,
                              int64_t pieces, const nb_layer_options *o, nb_rng *r)
{
    nb_maxout_layer l = {{NB_NO_PARAM, NB_NO_PARAM}, pieces};
    int64_t all;
    if (pieces < 1 || __builtin_mul_overflow(out, pieces, &all))
        nb_params_refuse(p, NB_ERR_ARGUMENT, "maxout: \"%.99s\": %lld pieces of %lld units", name,
                         (long long)pieces, (long long)out);
    else
        l.maps = nbi_linear(p, name, NB_SHAPE(in, all), pieces, o, glorot, r);
    return l;
}

nb_var nb_maxout_apply(const nb_maxout_layer *l, const nb_pass *m, nb_var x)
{
    nb_var y = nb_linear_apply(&l->maps, m, x, NULL);
    nb_shape s = nb_shape_of(y);
    if (s.rank < 1 || s.rank == NB_MAX_RANK || l->pieces < 1)
        return nb_ok(y)
                   ? nbi_refuse("maxout", NB_ERR_SHAPE, 1, &y, "there must be 1 to 7 axes", NULL)
                   : y;
    s.dims[s.rank] = s.dims[s.rank - 1] / l->pieces;
    s.dims[s.rank - 1] = l->pieces;
    s.rank++;
    return nb_amax_over(nb_reshape(y, s), NB_AXES(-2), false);
}

/* ---- stacks ---------------------------------------------------------------------------------- */

/* The number of layers that count sizes make, or 0 and an error. */
static int layers_of(nb_params *p, const char *who, const char *name, int count,
                     const int64_t *sizes)
{
    if (count >= 2 && sizes)
        return count - 1;
    nb_params_refuse(p, NB_ERR_ARGUMENT, "%s: \"%.99s\": %d sizes make no layer", who,
                     name ? name : "", sizes ? count : 0);
    return 0;
}

static const char *numbered(char text[16], const char *what, int k)
{
    snprintf(text, 16, "%s%d", what, k);
    return text;
}

nb_mlp nb_mlp_new(nb_params *p, const char *name, int count, const int64_t *sizes,
                  const nb_mlp_options *o, nb_rng *r)
{
    nb_mlp l = {.first = NB_NO_PARAM, .layers = layers_of(p, "mlp", name, count, sizes)};
    char text[16];
    if (o)
        l.options = *o;
    l.options.f = l.options.f ? l.options.f : nb_relu;
    const nb_init he = {.rule = NB_INIT_HE_NORMAL}, usual = l.options.f == nb_relu ? he : glorot;
    for (int k = 0; k < l.layers; k++) {
        const nb_shape w = NB_SHAPE(sizes[k], sizes[k + 1]);
        const nb_param i = nbi_add(p, name, numbered(text, "w", k), w,
                                   (nb_param_options){.init = l.options.weight}, usual, r);
        nbi_add(p, name, numbered(text, "b", k), NB_SHAPE(w.dims[1]),
                (nb_param_options){.parts = 1}, (nb_init){.rule = NB_INIT_ZEROS}, r);
        l.first = k ? l.first : i;
    }
    return l;
}

/* What an error left of a stack has no first parameter. */
static bool made(const char *who, nb_param first, nb_var x, nb_var *out)
{
    if (first >= 0 || !nbi_usable(who, 1, &x, out))
        return first >= 0;
    *out = nbi_refuse(who, NB_ERR_ARGUMENT, 1, &x, "the layer was not made", NULL);
    return false;
}

nb_var nb_mlp_apply(const nb_mlp *l, const nb_pass *m, nb_var x)
{
    nb_var out;
    if (!made("mlp", l->first, x, &out))
        return out;
    for (int k = 0; k < l->layers; k++) {
        const bool last = k == l->layers - 1;
        const nb_linear_layer one = {l->first + 2 * k, l->first + 2 * k + 1};
        x = nb_linear_apply(&one, m, x, last ? l->options.last : l->options.f);
        if (!last && l->options.dropout != 0)
            x = nb_dropout_apply(m, x, l->options.dropout);
    }
    return x;
}

nb_autoencoder nb_autoencoder_new(nb_params *p, const char *name, int count, const int64_t *sizes,
                                  nb_activation f, nb_activation last, nb_rng *r)
{
    nb_autoencoder l = {NB_NO_PARAM, layers_of(p, "autoencoder", name, count, sizes),
                        f ? f : nb_sigmoid, last};
    const nb_param_options none = {.parts = 1};
    const nb_init zeros = {.rule = NB_INIT_ZEROS};
    char text[16];
    for (int k = 0; k < l.layers; k++) {
        const nb_shape w = NB_SHAPE(sizes[k], sizes[k + 1]);
        const nb_param i = nbi_add(p, name, numbered(text, "w", k), w, none, glorot, r);
        nbi_add(p, name, numbered(text, "b", k), NB_SHAPE(sizes[k + 1]), none, zeros, r);
        nbi_add(p, name, numbered(text, "c", k), NB_SHAPE(sizes[k]), none, zeros, r);
        l.first = k ? l.first : i;
    }
    return l;
}

nb_var nb_autoencoder_encode(const nb_autoencoder *l, const nb_pass *m, nb_var x)
{
    nb_var out;
    if (!made("autoencoder", l->first, x, &out))
        return out;
    for (int k = 0; k < l->layers; k++) {
        const nb_linear_layer one = {l->first + 3 * k, l->first + 3 * k + 1};
        x = nb_linear_apply(&one, m, x, l->f);
    }
    return x;
}

nb_var nb_autoencoder_decode(const nb_autoencoder *l, const nb_pass *m, nb_var h)
{
    nb_var out;
    if (!made("autoencoder", l->first, h, &out))
        return out;
    for (int k = l->layers - 1; k >= 0; k--) {
        const nb_activation f = k ? l->f : l->last;
        nb_var w = nb_pass_var(m, l->first + 3 * k), c = nb_pass_var(m, l->first + 3 * k + 2);
        h = nb_add(nb_matmul_t(h, false, w, true), c);
        h = f ? f(h) : h;
    }
    return h;
}
