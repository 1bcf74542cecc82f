/*
 * Attention in several heads, and the transformer block.
 *
 * A head attends within its own part of the width. With heads as one more axis in front,
 *
 *     [n steps width] -> [n steps heads d] -> [n heads steps d],      d = width / heads,
 *
 * all heads are one call of nb_attention, which works entry by entry of the axes in front; and back.
 *
 * The block adds to x what attention, and then a layer at each step by itself, make of x normalised.
 * Norms stand inside the branches, so that x and its gradient pass from end to end through additions
 * alone.
 */
#include "layer.h"
#include "refuse.h"

nb_attention_layer nb_attention_new(nb_params *p, const char *name, int64_t width, int64_t heads,
                                    const nb_layer_options *o, nb_rng *r)
{
    static const char *const suffix[] = {"query", "key", "value", "out"};
    const nb_linear_layer none = {NB_NO_PARAM, NB_NO_PARAM};
    nb_attention_layer l = {none, none, none, none, width, heads};
    nb_linear_layer *const part[] = {&l.query, &l.key, &l.value, &l.out};
    char text[NBI_NAME];
    if (heads < 1 || width < 1 || width % heads) {
        nb_params_refuse(p, NB_ERR_ARGUMENT,
                         "attention: \"%.99s\": a width of %lld has no %lld equal heads",
                         name ? name : "", (long long)width, (long long)heads);
        return l;
    }
    for (int k = 0; k < 4; k++)
        if (nbi_name_of(p, text, name, suffix[k]))
            *part[k] = nb_linear_new(p, text, width, width, o, r);
    return l;
}

/* [n steps width] to [n heads steps d] */
static nb_var into_heads(nb_var x, int64_t heads, int64_t d)
{
    nb_var apart = nb_reshape(x, NB_SHAPE(nb_dim(x, 0), nb_dim(x, 1), heads, d));
    return nb_permute(apart, NB_AXES(0, 2, 1, 3));
}

static nb_var from_heads(nb_var x, int64_t width)
{
    nb_var side_by_side = nb_permute(x, NB_AXES(0, 2, 1, 3));
    return nb_reshape(side_by_side, NB_SHAPE(nb_dim(x, 0), nb_dim(x, 2), width));
}

static bool fits(const nb_attention_layer *l, nb_var x, nb_var memory, nb_var w, nb_var *out)
{
    const nb_var all[] = {x, memory, w};
    if (!nbi_usable("attention", 3, all, out))
        return false;
    if (nb_rank(x) == 3 && nb_rank(memory) == 3 && nb_dim(x, 2) == l->width &&
        nb_dim(memory, 2) == l->width && nb_dim(x, 0) == nb_dim(memory, 0))
        return true;
    *out = nbi_refuse("attention", NB_ERR_SHAPE, 3, all, "the sequences do not fit",
                      "a must be [n steps %lld], b [n others %lld]", (long long)l->width,
                      (long long)l->width);
    return false;
}

nb_var nb_attention_apply(const nb_attention_layer *l, const nb_pass *m, nb_var x, nb_var memory,
                          const nb_attention_options *o)
{
    nb_var out;
    if (!memory.tape)
        memory = x;
    if (!fits(l, x, memory, nb_pass_var(m, l->query.w), &out))
        return out;
    const int64_t d = l->width / l->heads;
    nb_var q = into_heads(nb_linear_apply(&l->query, m, x, NULL), l->heads, d);
    nb_var k = into_heads(nb_linear_apply(&l->key, m, memory, NULL), l->heads, d);
    nb_var v = into_heads(nb_linear_apply(&l->value, m, memory, NULL), l->heads, d);
    nb_var y = from_heads(nb_attention(q, k, v, o), l->width);
    return nb_linear_apply(&l->out, m, y, NULL);
}

/* ---- the block ------------------------------------------------------------------------------- */

static nb_norm_layer norm(nb_params *p, const char *name, const char *suffix, int64_t width,
                          bool rms)
{
    char text[NBI_NAME];
    if (!nbi_name_of(p, text, name, suffix))
        return (nb_norm_layer){NB_NO_PARAM, NB_NO_PARAM, 1, rms, 0};
    const nb_shape shape = NB_SHAPE(width);
    return rms ? nb_rms_norm_new(p, text, shape) : nb_layer_norm_new(p, text, shape);
}

static nb_linear_layer linear(nb_params *p, const char *name, const char *suffix, int64_t in,
                              int64_t out, nb_rng *r)
{
    char text[NBI_NAME];
    if (!nbi_name_of(p, text, name, suffix))
        return (nb_linear_layer){NB_NO_PARAM, NB_NO_PARAM};
    return nb_linear_new(p, text, in, out, NULL, r);
}

nb_transformer_block nb_transformer_new(nb_params *p, const char *name, int64_t width,
                                        const nb_transformer_options *o, nb_rng *r)
{
    const nb_transformer_options none = {.heads = 0};
    o = o ? o : &none;
    const int64_t hidden = o->hidden ? o->hidden : width < INT64_MAX / 4 ? 4 * width : width;
    nb_transformer_block l = {.f = o->f ? o->f : nb_gelu, .dropout = o->dropout};
    l.before_attention = norm(p, name, "norm_1", width, o->rms);
    l.attention = nb_attention_new(p, name, width, o->heads ? o->heads : 1, NULL, r);
    l.before_mlp = norm(p, name, "norm_2", width, o->rms);
    l.up = linear(p, name, "up", width, hidden, r);
    l.down = linear(p, name, "down", hidden, width, r);
    return l;
}

static nb_var branch(const nb_transformer_block *l, const nb_pass *m, nb_var x, nb_var y)
{
    return nb_residual(x, l->dropout != 0 ? nb_dropout_apply(m, y, l->dropout) : y);
}

nb_var nb_transformer_apply(const nb_transformer_block *l, const nb_pass *m, nb_var x,
                            const nb_attention_options *o)
{
    nb_var seen = nb_norm_apply(&l->before_attention, m, x);
    x = branch(l, m, x, nb_attention_apply(&l->attention, m, seen, NB_NONE, o));
    nb_var high = nb_linear_apply(&l->up, m, nb_norm_apply(&l->before_mlp, m, x), l->f);
    return branch(l, m, x, nb_linear_apply(&l->down, m, high, NULL));
}
