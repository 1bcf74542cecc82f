/*
 * Layer and RMS norm, and what they share with group and batch norm.
 *
 *     xhat = (x - mean) / sqrt(variance + eps)          y = xhat gain + bias
 *
 *     op           a cell, over which mean and variance are taken       gain and bias
 *     layer_norm   the last axes of x                                   the shape of those axes
 *     rms_norm     the same, without the mean: x / sqrt(mean x^2 + eps) the same
 *
 * The kernels (norm.h there) hold the derivation of the adjoint
 *
 *     dx = rate (h - mean(h) - xhat mean(h xhat)),     h = g gain
 *     dgain = sum of g xhat,     dbias = sum of g      over all places that a gain meets
 *
 * As graph code the same is written over a view of x as [outer groups channels inner], in which a
 * cell is a set of axes whatever the op. There xhat is the op itself without gain and bias, and the
 * rate is a function of x again, so the rule differentiates to any order. The scale, a power of two
 * that keeps squares within range, is constant, as the result does not depend on it.
 */
#include "ops/normal.h"

#include "base/shape.h"
#include "ops/array.h"
#include "ops/records.h"
#include "tape/tape.h"
#include <nabla/ops.h>

#include <math.h>

enum { SHARE = 1 << 14 }; /* elements that are worth a thread's while */

static bool absent(nb_var v) { return !v.tape && nbi_is_inert(v); }

nb_var nbi_normalised(const nb_op *op, nb_var x, nb_var gain, nb_var bias, nbi_normal *s)
{
    nb_var in[3] = {x};
    int n = 1;
    s->gain = absent(gain) ? -1 : n;
    if (!absent(gain))
        in[n++] = gain;
    s->bias = absent(bias) ? -1 : n;
    if (!absent(bias))
        in[n++] = bias;
    return nb_apply(op, (size_t)n, in, s, sizeof *s);
}

/* ---- the parts of shape rules ---------------------------------------------------------------- */

nb_code nbi_normal_eps(const nb_call *c)
{
    const nbi_normal *s = c->state;
    if (s->eps >= 0 && isfinite(s->eps))
        return NB_OK;
    return nb_refuse(c, NB_ERR_ARGUMENT, "eps must be finite and not negative", "it is %g", s->eps);
}

nb_code nbi_normal_channels(const nb_call *c)
{
    const int rank = c->in[0].rank;
    nb_code code = nbi_normal_eps(c);
    if (code == NB_OK && rank < 2)
        code =
            nb_refuse(c, NB_ERR_SHAPE, "needs x [n c ...]", "x has %d axes", rank < 0 ? 0 : rank);
    return code;
}

nb_code nbi_normal_affine(const nb_call *c, nb_shape due)
{
    const nbi_normal *s = c->state;
    const int which[] = {s->gain, s->bias};
    static const char *const name[] = {"gain", "bias"};
    char a[NBI_SHAPE_TEXT], b[NBI_SHAPE_TEXT];
    for (int i = 0; i < 2; i++) {
        if (which[i] < 0)
            continue;
        const nb_array *v = &c->in[which[i]];
        if (!nb_shape_equal(nbi_shape_in(v), due))
            return nb_refuse(c, NB_ERR_SHAPE, "gain or bias does not fit",
                             "the %s is %s, x asks for %s", name[i],
                             nbi_shape_text(a, v->rank, v->dims),
                             nbi_shape_text(b, due.rank, due.dims));
    }
    return NB_OK;
}

int64_t nbi_normal_product(int n, const int64_t *dims)
{
    const int64_t p = nbi_product(n, dims);
    return p < 0 ? 0 : p;
}

nb_code nbi_normal_room(const nb_call *c)
{
    nbi_normal *s = c->state;
    const int64_t cells = c->in[0].size ? nbi_norm_cells(&s->n) : 0;
    double *kept = nb_keep(c, 4 * (size_t)cells * sizeof *kept); /* fewer cells than elements */
    if (!kept)
        return NB_ERR_MEMORY;
    s->n.mean = kept;
    s->n.scale = kept + cells;
    s->n.rate = kept + 2 * cells;
    s->n.variance = kept + 3 * cells;
    return NB_OK;
}

/* ---- the rules over arrays ------------------------------------------------------------------- */

static void moments_piece(void *context, int64_t from, int64_t to, int worker)
{
    (void)worker;
    nbi_norm_moments(context, from, to);
}

static void forward_piece(void *context, int64_t from, int64_t to, int worker)
{
    (void)worker;
    nbi_norm_forward(context, from, to);
}

static void reverse_piece(void *context, int64_t from, int64_t to, int worker)
{
    (void)worker;
    nbi_norm_reverse(context, from, to);
}

static void channels_piece(void *context, int64_t from, int64_t to, int worker)
{
    (void)worker;
    nbi_norm_reverse_channels(context, from, to);
}

/* So many outputs, which share the elements of x equally. */
static void share(const nb_call *c, int64_t n, nbi_piece *work, nbi_norm_pass *p)
{
    const int64_t each = n ? c->in[0].size / n : 0;
    if (c->in[0].size)
        nbi_share(c->tape, n, each ? 1 + SHARE / each : SHARE, work, p);
}

static nbi_norm_pass pass_of(const nb_call *c)
{
    const nbi_normal *s = c->state;
    return (nbi_norm_pass){.s = &s->n,
                           .dtype = c->out->dtype,
                           .isa = c->tape->isa,
                           .x = c->in[0].data,
                           .gain = s->gain < 0 ? NULL : c->in[s->gain].data,
                           .bias = s->bias < 0 ? NULL : c->in[s->bias].data,
                           .y = c->out->data};
}

nb_code nbi_normal_forward_given(const nb_call *c)
{
    const nbi_normal *s = c->state;
    nbi_norm_pass p = pass_of(c);
    share(c, nbi_norm_cells(&s->n), forward_piece, &p);
    return NB_OK;
}

nb_code nbi_normal_forward(const nb_call *c)
{
    const nbi_normal *s = c->state;
    if (nbi_normal_room(c) != NB_OK)
        return NB_ERR_MEMORY;
    nbi_norm_pass p = pass_of(c);
    share(c, nbi_norm_cells(&s->n), moments_piece, &p);
    return nbi_normal_forward_given(c);
}

nb_code nbi_normal_reverse_arrays(const nb_call *c, const nb_array *g, nb_array *const *gin,
                                  const bool *add)
{
    const nbi_normal *s = c->state;
    nbi_norm_pass p = pass_of(c);
    p.g = g->data;
    if (gin[0]) {
        p.y = gin[0]->data;
        p.add = add[0];
        share(c, nbi_norm_cells(&s->n), reverse_piece, &p);
    }
    const int k[] = {s->gain, s->bias};
    p.d_gain = k[0] < 0 || !gin[k[0]] ? NULL : gin[k[0]]->data;
    p.d_bias = k[1] < 0 || !gin[k[1]] ? NULL : gin[k[1]]->data;
    p.add_gain = p.d_gain && add[k[0]];
    p.add_bias = p.d_bias && add[k[1]];
    if (!c->in[0].size)
        for (int i = 0; i < 2; i++)
            if (k[i] >= 0 && gin[k[i]])
                nbi_clear(gin[k[i]], add[k[i]]);
    if (p.d_gain || p.d_bias)
        share(c, s->n.groups * s->n.channels, channels_piece, &p);
    return NB_OK;
}

/* ---- the rule as graph code ------------------------------------------------------------------ */

/* A column of the statistics, in a shape that broadcasts against the view. */
static nb_var column(const nb_rule *r, const double *values)
{
    const nbi_norm *n = &((const nbi_normal *)r->state)->n;
    nb_shape lines = NB_SHAPE(n->outer / n->groups, n->groups, 1, 1);
    return nb_constant_tensor(r->tape, n->columns ? NB_SHAPE(n->channels, 1) : lines, values);
}

static bool scaled(const nbi_norm *n)
{
    for (int64_t i = 0; i < nbi_norm_cells(n); i++)
        if (n->scale[i] != 1)
            return true;
    return false;
}

/* scale / sqrt(v + eps scale^2) as a function of the view x; 0 where the root is. */
static nb_var rate_of(const nb_rule *r, nb_var x, nb_axes cell)
{
    const nbi_norm *n = &((const nbi_normal *)r->state)->n;
    if (n->given)
        return column(r, n->rate);
    nb_var q = nb_num(1), eps = nb_num(n->eps);
    if (scaled(n)) {
        q = column(r, n->scale);
        x = nb_mul(x, q);
        eps = nb_square(nb_mul(q, nb_num(sqrt(n->eps)))); /* 0 times an overflow is no eps */
    }
    nb_var v = n->centred ? nb_var_over(x, cell, 0, true) : nb_mean_over(nb_square(x), cell, true);
    v = nb_add(v, eps);
    nb_var rate = nb_mul(q, nb_rsqrt(v));
    return n->eps > 0 ? rate : nb_where(nb_eq(v, nb_num(0)), nb_num(0), rate);
}

/* xhat in the view; x has the view's shape. */
static nb_var hat_of(const nb_rule *r, nb_var x)
{
    nbi_normal s = *(const nbi_normal *)r->state;
    if (s.n.given)
        return nb_mul(nb_sub(x, column(r, s.n.mean)), column(r, s.n.rate));
    s.past = NULL;
    return nb_reshape(nbi_normalised(r->op, r->in[0], NB_NONE, NB_NONE, &s), nb_shape_of(x));
}

static nb_var adjoint_of_x(const nb_rule *r, nb_var x, nb_var h, nb_var hat)
{
    const nbi_norm *n = &((const nbi_normal *)r->state)->n;
    const nb_axes cell = n->columns ? NB_AXES(0, 3) : NB_AXES(2, 3);
    nb_var inner = h;
    if (!n->given) {
        nb_var along = nb_mean_over(nb_chain(h, hat), cell, true);
        inner = nb_sub(h, nb_chain(along, hat));
        if (n->centred)
            inner = nb_sub(inner, nb_mean_over(h, cell, true));
    }
    nb_var d = nb_chain(inner, rate_of(r, x, cell));
    return nb_reshape(d, nb_shape_of(r->in[0]));
}

nb_code nbi_normal_reverse(const nb_rule *r)
{
    const nbi_normal *s = r->state;
    const nbi_norm *n = &s->n;
    const nb_axes places = NB_AXES(0, 3); /* where a gain is used */
    if (nb_size(r->in[0]) == 0)
        return NB_OK;
    nb_shape view = NB_SHAPE(n->outer / n->groups, n->groups, n->channels, n->inner);
    nb_var g = nb_reshape(r->g, view), x = nb_reshape(r->in[0], view), hat = hat_of(r, x), h = g;
    if (s->gain >= 0)
        h = nb_chain(g, nb_reshape(r->in[s->gain], NB_SHAPE(n->groups, n->channels, 1)));
    if (r->want[0])
        r->d[0] = adjoint_of_x(r, x, h, hat);
    if (s->gain >= 0 && r->want[s->gain])
        r->d[s->gain] =
            nb_reshape(nb_sum_over(nb_chain(g, hat), places, false), nb_shape_of(r->in[s->gain]));
    if (s->bias >= 0 && r->want[s->bias])
        r->d[s->bias] = nb_reshape(nb_sum_over(g, places, false), nb_shape_of(r->in[s->bias]));
    return NB_OK;
}

/* ---- layer norm and RMS norm ----------------------------------------------------------------- */

static nb_code line_shape(const nb_call *c, bool centred)
{
    nbi_normal *s = c->state;
    const nb_array *x = &c->in[0];
    nb_code code = nbi_normal_eps(c);
    if (code != NB_OK)
        return code;
    if (s->last < 1 || s->last > x->rank)
        return nb_refuse(c, NB_ERR_AXIS, "no so many axes to normalise over",
                         "the last %d, x has %d", s->last, x->rank < 0 ? 0 : x->rank);
    const int first = x->rank - s->last;
    const nb_shape due = nb_shape_make((size_t)s->last, x->dims + first);
    s->n = (nbi_norm){.outer = nbi_normal_product(first, x->dims),
                      .groups = 1,
                      .channels = nbi_normal_product(s->last, due.dims),
                      .inner = 1,
                      .centred = centred,
                      .eps = s->eps};
    return nbi_normal_affine(c, due);
}

static nb_code layer_shape(const nb_call *c, nb_shape *out)
{
    (void)out; /* that of x */
    return line_shape(c, true);
}

static nb_code rms_shape(const nb_call *c, nb_shape *out)
{
    (void)out;
    return line_shape(c, false);
}

static bool line_sample(nb_sampler *s, int k, nb_var *in, int *last)
{
    static const struct {
        nb_shape x;
        int last;
        bool gain, bias;
    } sample[] = {
        {{2, {3, 5}}, 1, true, true},     {{2, {2, 7}}, 1, false, false},
        {{1, {6}}, 1, true, false},       {{3, {2, 3, 4}}, 2, true, true},
        {{3, {2, 2, 3}}, 1, false, true}, {{8, {1, 2, 1, 2, 1, 3, 1, 2}}, 3, true, true},
        {{2, {0, 3}}, 1, true, true},     {{2, {2, 0}}, 1, true, true},
    };
    if (k >= (int)(sizeof sample / sizeof *sample))
        return false;
    const int first = sample[k].x.rank - sample[k].last;
    const nb_shape affine = nb_shape_make((size_t)sample[k].last, sample[k].x.dims + first);
    in[0] = nb_sample(s, sample[k].x, -2, 2);
    in[1] = sample[k].gain ? nb_sample(s, affine, 0.5, 2) : NB_NONE;
    in[2] = sample[k].bias ? nb_sample(s, affine, -2, 2) : NB_NONE;
    *last = sample[k].last;
    return true;
}

static nb_var layer_sample(nb_sampler *s, int k)
{
    nb_var in[3];
    int last;
    return line_sample(s, k, in, &last) ? nb_layer_norm(in[0], last, in[1], in[2], 1e-5) : NB_NONE;
}

static nb_var rms_sample(nb_sampler *s, int k)
{
    nb_var in[3];
    int last;
    if (!line_sample(s, k, in, &last))
        return NB_NONE;
    return nb_rms_norm(in[0], last, in[1], in[2], k % 2 ? 0 : 1e-5);
}

const nb_op nbi_op_layer_norm = {
    .name = "layer_norm",
    .doc = "the last axes to mean 0 and variance 1, times a gain, plus a bias",
    .shape = layer_shape,
    .forward = nbi_normal_forward,
    .reverse = nbi_normal_reverse,
    .reverse_arrays = nbi_normal_reverse_arrays,
    .overwrites = true,
    .sample = layer_sample,
};

const nb_op nbi_op_rms_norm = {
    .name = "rms_norm",
    .doc = "the last axes to mean square 1, times a gain, plus a bias",
    .shape = rms_shape,
    .forward = nbi_normal_forward,
    .reverse = nbi_normal_reverse,
    .reverse_arrays = nbi_normal_reverse_arrays,
    .overwrites = true,
    .sample = rms_sample,
};

nb_var(nb_layer_norm)(nb_var x, int last, nb_var gain, nb_var bias, double eps)
{
    nbi_normal s = {.last = last, .eps = eps};
    return nbi_normalised(&nbi_op_layer_norm, x, gain, bias, &s);
}

nb_var(nb_rms_norm)(nb_var x, int last, nb_var gain, nb_var bias, double eps)
{
    nbi_normal s = {.last = last, .eps = eps};
    return nbi_normalised(&nbi_op_rms_norm, x, gain, bias, &s);
}
