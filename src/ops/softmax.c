/*
 * Softmax, its logarithm, and softmax under a mask, along an axis.
 *
 *     softmax        y[i] = e^x[i] / sum of e^x         dy[i]/dx[j] = y[i] ([i = j] - y[j])
 *     log_softmax    y[i] = x[i] - log sum of e^x       dy[i]/dx[j] = [i = j] - e^y[j]
 *
 * Summed against an adjoint g, with one number per line:
 *
 *     softmax        dx = y (g - sum of g y)            log_softmax    dx = g - e^y (sum of g)
 *
 * The Jacobian of the first is symmetric, so its tangent is the same expression in tx; the second's
 * is tx - sum of e^y tx. The exponentials are shifted by the line's maximum as logsumexp.c says,
 * infinite maxima included: [inf, 0] becomes (1, 0).
 *
 * A line of nothing but -inf has no softmax. Its result is NaN, the tape's status tells
 * (NB_ERR_DOMAIN), and the other lines are computed. Under a mask, what is masked counts as -inf,
 * and such a line is 0. A probability of exactly 0 passes no gradient, whatever the adjoint: a mask
 * selects.
 */
#include "ops/softmax.h"
#include "base/element.h"
#include "ops/axis.h"
#include "ops/records.h"
#include "tape/tape.h"
#include <nabla/ops.h>

#include <math.h>

static nb_var apply(const nb_op *op, size_t n, const nb_var *in, nb_axes axes, bool quiet)
{
    const nbi_reduction s = {.axes = axes, .quiet = quiet, .keep = true};
    return nb_apply(op, n, in, &s, sizeof s); /* the shape rule makes the nest */
}

static nb_code shape(const nb_call *c, nb_shape *out)
{
    (void)out; /* that of x */
    return nbi_reduction_prepare(c);
}

/* m is -inf where there is nothing to share out. Returns whether all is well; if not, the first such
 * line is noted, by whichever thread. */
static bool any_mass(const nb_call *c, const nbi_walk *k, const double *m)
{
    nbi_reduction *s = c->state;
    int j = 0;
    while (j < k->w && m[j] != -(double)INFINITY)
        j++;
    if (j == k->w || s->nest.n == 0 || s->quiet)
        return true;
    int64_t first = __atomic_load_n(&s->barren, __ATOMIC_RELAXED);
    while (k->cell + j < first &&
           !__atomic_compare_exchange_n(&s->barren, &first, k->cell + j, true, __ATOMIC_RELAXED,
                                        __ATOMIC_RELAXED))
        continue;
    return false;
}

/* The rule for every tile, and the status that comes of it. */
static nb_code over_lines(const nb_call *c, nbi_walk k, nbi_tile_rule *rule)
{
    nbi_reduction *s = c->state;
    s->barren = INT64_MAX;
    nbi_over_tiles(c, NULL, nbi_with_exp(c, k), rule);
    if (s->barren != INT64_MAX)
        nb_refuse(c, NB_ERR_DOMAIN, "every element is -inf", "in line %lld", (long long)s->barren);
    return NB_OK;
}

/* ---- softmax --------------------------------------------------------------------------------- */

static void softmax_tile(const nbi_tile_call *t, const nbi_walk *k)
{
    double m[NBI_TILE], s[NBI_TILE], a[NBI_TILE];
    nbi_fold(k, NBI_FOLD_MAX, NULL, NULL, m);
    bool sound = any_mass(t->c, k, m);
    for (int j = 0; j < k->w; j++)
        a[j] = 1;
    nbi_shifted_spread(k, m, a);
    nbi_walk y = *k;
    y.x = y.z = k->y;
    nbi_fold(&y, NBI_FOLD_SUM, NULL, NULL, s);
    for (int j = 0; j < k->w; j++)
        a[j] = s[j] != 0 ? 1 / s[j] : sound ? 1 : (double)NAN;
    nbi_spread(&y, NBI_SPREAD_SCALED, a, NULL);
}

/* Reads x, which may be out itself. */
static nb_code softmax_from(const nb_call *c, const void *x)
{
    nbi_walk k = nbi_forward_walk(c);
    k.x = k.z = x;
    k.y = c->out->data;
    return over_lines(c, k, softmax_tile);
}

static nb_code softmax_forward(const nb_call *c) { return softmax_from(c, c->in[0].data); }

static void softmax_back(const nbi_tile_call *t, const nbi_walk *k)
{
    double a[NBI_TILE];
    (void)t;
    nbi_fold(k, NBI_FOLD_DOT, NULL, NULL, a);
    nbi_spread(k, NBI_SPREAD_SOFTMAX, a, NULL);
}

static nb_code softmax_arrays(const nb_call *c, const nb_array *g, nb_array *const *gin,
                              const bool *add)
{
    nbi_walk k = nbi_reverse_walk(c, gin, add);
    k.x = g->data;
    k.z = c->out->data;
    return nbi_over_tiles(c, g, k, softmax_back);
}

/* y (v - sum of v y), 0 where y is 0 */
static nb_var softmax_rule(const nb_rule *r, nb_var v)
{
    const nbi_reduction *s = r->state;
    nb_var shared = nb_sum_over(nb_chain(v, r->out), s->axes, true);
    nb_var zero = nb_eq(r->out, nb_num(0));
    return nb_where(zero, nb_num(0), nb_chain(nb_sub(v, shared), r->out));
}

static nb_code softmax_reverse(const nb_rule *r)
{
    if (r->want[0])
        r->d[0] = softmax_rule(r, r->g);
    return NB_OK;
}

static nb_code softmax_tangent(const nb_rule *r)
{
    if (r->want[0])
        r->d[0] = softmax_rule(r, r->t[0]);
    return NB_OK;
}

static nb_var softmax_sample(nb_sampler *s, int k)
{
    nb_var x;
    int axis;
    return nbi_axis_sample(s, k, &x, &axis) ? nb_softmax(x, axis) : NB_NONE;
}

const nb_op nbi_op_softmax = {
    .name = "softmax",
    .doc = "exponentials, divided by their sum along an axis",
    .shape = shape,
    .forward = softmax_forward,
    .reverse = softmax_reverse,
    .reverse_arrays = softmax_arrays,
    .overwrites = true,
    .tangent = softmax_tangent,
    .sample = softmax_sample,
};

nb_var(nb_softmax)(nb_var x, int axis)
{
    return apply(&nbi_op_softmax, 1, &x, NB_AXES(axis), false);
}

nb_var nbi_softmax_over(nb_var x, nb_axes axes)
{
    return apply(&nbi_op_softmax, 1, &x, axes, true);
}

/* ---- log_softmax ----------------------------------------------------------------------------- */

static void log_softmax_tile(const nbi_tile_call *t, const nbi_walk *k)
{
    double m[NBI_TILE], s[NBI_TILE];
    nbi_shifted_sum(k, m, s);
    any_mass(t->c, k, m);
    for (int j = 0; j < k->w; j++)
        s[j] = log(s[j]);
    nbi_spread(k, NBI_SPREAD_SHIFTED, s, m);
    for (int j = 0; j < k->w; j++)
        if (m[j] == (double)INFINITY) {
            nbi_walk one = nbi_walk_single(k, j);
            double share = -s[j];
            nbi_spread(&one, NBI_SPREAD_ONLY, &share, m + j);
        }
}

static nb_code log_softmax_forward(const nb_call *c)
{
    nbi_walk k = nbi_forward_walk(c);
    k.y = c->out->data;
    return over_lines(c, k, log_softmax_tile);
}

static void log_softmax_back(const nbi_tile_call *t, const nbi_walk *k)
{
    const double zero[NBI_TILE] = {0};
    double a[NBI_TILE];
    (void)t;
    nbi_fold(k, NBI_FOLD_SUM, NULL, NULL, a);
    nbi_spread(k, NBI_SPREAD_LOG_SOFTMAX, a, zero);
}

static nb_code log_softmax_arrays(const nb_call *c, const nb_array *g, nb_array *const *gin,
                                  const bool *add)
{
    nbi_walk k = nbi_with_exp(c, nbi_reverse_walk(c, gin, add));
    k.x = g->data;
    k.z = c->out->data;
    return nbi_over_tiles(c, g, k, log_softmax_back);
}

static nb_code log_softmax_reverse(const nb_rule *r)
{
    const nbi_reduction *s = r->state;
    nb_var total = nb_sum_over(r->g, s->axes, true);
    r->d[0] = nb_sub(r->g, nb_chain(total, nb_exp(r->out)));
    return NB_OK;
}

static nb_code log_softmax_tangent(const nb_rule *r)
{
    const nbi_reduction *s = r->state;
    nb_var mean = nb_sum_over(nb_chain(r->t[0], nb_exp(r->out)), s->axes, true);
    r->d[0] = nb_sub(r->t[0], mean);
    return NB_OK;
}

static nb_var log_softmax_sample(nb_sampler *s, int k)
{
    nb_var x;
    int axis;
    return nbi_axis_sample(s, k, &x, &axis) ? nb_log_softmax(x, axis) : NB_NONE;
}

const nb_op nbi_op_log_softmax = {
    .name = "log_softmax",
    .doc = "the logarithm of softmax along an axis",
    .shape = shape,
    .forward = log_softmax_forward,
    .reverse = log_softmax_reverse,
    .reverse_arrays = log_softmax_arrays,
    .overwrites = true,
    .tangent = log_softmax_tangent,
    .sample = log_softmax_sample,
};

nb_var(nb_log_softmax)(nb_var x, int axis)
{
    return apply(&nbi_op_log_softmax, 1, &x, NB_AXES(axis), false);
}

/* ---- masked_softmax: x where the mask is not 0, -inf elsewhere; then as softmax -------------- */

static nb_code masked_shape(const nb_call *c, nb_shape *out)
{
    nb_shape wide = *out;
    if (c->in[0].rank < 0)
        return nbi_reduction_prepare(c); /* which refuses the axis */
    if (!nbi_broadcast(&wide, c->in[1].rank, c->in[1].dims) || !nb_shape_equal(wide, *out))
        return nb_refuse(c, NB_ERR_SHAPE, "the mask does not broadcast to x", NULL);
    return nbi_reduction_prepare(c);
}

/* Copies x, counting through its places in row-major order; the mask's place follows along,
 * standing still on axes that it lacks or where it has size 1. */
static void fill(const nb_array *x, const nb_array *mask, nb_array *y)
{
    int64_t step[NB_MAX_RANK], place[NB_MAX_RANK] = {0}, size = 1, at = 0;
    for (int i = x->rank - 1, j = mask->rank - 1; i >= 0; i--, j--) {
        step[i] = j < 0 || mask->dims[j] == 1 ? 0 : size;
        size *= j < 0 ? 1 : mask->dims[j];
    }
    for (int64_t i = 0; i < x->size; i++) {
        double v = nbi_element_at(mask->dtype, mask->data, at) == 0
                       ? -(double)INFINITY
                       : nbi_element_at(x->dtype, x->data, i);
        nbi_put(y->dtype, y->data, i, 1, &v);
        for (int d = x->rank - 1; d >= 0; d--) {
            at += step[d];
            if (++place[d] < x->dims[d])
                break;
            at -= step[d] * x->dims[d];
            place[d] = 0;
        }
    }
}

static nb_code masked_forward(const nb_call *c)
{
    nb_array y = *c->out;
    fill(&c->in[0], &c->in[1], &y);
    return softmax_from(c, y.data);
}

static nb_code masked_arrays(const nb_call *c, const nb_array *g, nb_array *const *gin,
                             const bool *add)
{
    const double zero = 0;
    for (int64_t i = 0; gin[1] && !add[1] && i < gin[1]->size; i++)
        nbi_put(gin[1]->dtype, gin[1]->data, i, 1, &zero);
    return softmax_arrays(c, g, gin, add);
}

static nb_var masked_softmax_sample(nb_sampler *s, int k)
{
    static const double rows[] = {1, 0, 1, 1, 0, 0, 0, 0, 1, 1, 1, 1}, column[] = {1, 0, 1};
    nb_tape *t = nb_sample_tape(s);
    if (k == 0)
        return nb_masked_softmax(nb_sample(s, NB_SHAPE(3, 4), -2, 2),
                                 nb_constant_tensor(t, NB_SHAPE(3, 4), rows), 1);
    if (k == 1)
        return nb_masked_softmax(nb_sample(s, NB_SHAPE(2, 3, 4), -2, 2),
                                 nb_constant_tensor(t, NB_SHAPE(3, 1), column), 1);
    if (k == 2)
        return nb_masked_softmax(nb_sample(s, NB_SHAPE(5), -2, 2), nb_num(1), -1);
    if (k == 3)
        return nb_masked_softmax(nb_sample(s, NB_SHAPE(0, 3), -2, 2),
                                 nb_constant_tensor(t, NB_SHAPE(3), column), 1);
    return NB_NONE;
}

const nb_op nbi_op_masked_softmax = {
    .name = "masked_softmax",
    .doc = "softmax along an axis of the elements whose mask is not 0",
    .shape = masked_shape,
    .forward = masked_forward,
    .reverse = softmax_reverse,
    .reverse_arrays = masked_arrays,
    .overwrites = true,
    .tangent = softmax_tangent,
    .sample = masked_softmax_sample,
};

nb_var(nb_masked_softmax)(nb_var x, nb_var mask, int axis)
{
    const nb_var in[] = {x, mask};
    return apply(&nbi_op_masked_softmax, 2, in, NB_AXES(axis), true);
}
