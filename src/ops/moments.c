/*
 * Variance, standard deviation and Euclidean norm: sums of squares.
 *
 *     op      y                                             slope dy/dx[i]
 *     var     sum of (x - m)^2 / (n - c), m the mean        2 (x[i] - m) / (n - c)
 *     std     sqrt var                                      (x[i] - m) / ((n - c) y), 0 where y is
 * 0 norm    sqrt of the sum of x^2                        x[i] / y, 0 where y is 0
 *
 * (The mean's own dependence on x adds nothing to the first two: the deviations sum to 0.)
 *
 * Two passes: the mean first, then the squares of the deviations, corrected by the square of their
 * sum, which is 0 but for the rounding of m. So data of 1e15 plus small numbers lose nothing.
 *
 * The squares are summed as they are unless the sum leaves the range in which nothing was lost to
 * overflow or underflow. Then the deviations are first multiplied by a power of two that brings the
 * greatest of them near 1: norm [1e200, 1e200] is 1.4142e200, and norm [1e-200,
 * 1e-200] 1.4142e-200.
 */
#include "ops/records.h"
#include "ops/reduction.h"
#include <nabla/ops.h>

#include <math.h>

static const double LEAST = 0x1p-900, MOST = 0x1p1000;

/* The power of two that scales numbers up to m near 1. */
static double scale_for(double m)
{
    int e = 0;
    if (!(m > 0) || isinf(m))
        return 1;
    frexp(m, &e);
    return ldexp(1, e > 1000 ? -1000 : e < -1000 ? 1000 : -e);
}

/* s[j] = sum of ((v - p[j]) q[j])^2 with q[j] chosen as said above. */
static void squares(const nbi_walk *k, const double *p, double *q, double *s)
{
    double top[NBI_TILE], low[NBI_TILE];
    bool fine = true;
    for (int j = 0; j < k->w; j++)
        q[j] = 1;
    nbi_fold(k, NBI_FOLD_SQUARES, p, q, s);
    for (int j = 0; j < k->w; j++)
        fine = fine && s[j] >= LEAST && s[j] <= MOST;
    if (fine)
        return;
    nbi_fold(k, NBI_FOLD_MAX, NULL, NULL, top);
    nbi_fold(k, NBI_FOLD_MIN, NULL, NULL, low);
    for (int j = 0; j < k->w; j++)
        q[j] = scale_for(top[j] - p[j] > p[j] - low[j] ? top[j] - p[j] : p[j] - low[j]);
    nbi_fold(k, NBI_FOLD_SQUARES, p, q, s);
}

/* ---- norm ------------------------------------------------------------------------------------ */

static void norm_tile(const nbi_tile_call *t, const nbi_walk *k)
{
    const double zero[NBI_TILE] = {0};
    double q[NBI_TILE], s[NBI_TILE];
    double *y = nbi_kept(t->c, k, 0);
    squares(k, zero, q, s);
    for (int j = 0; j < k->w; j++)
        y[j] = sqrt(s[j]) / q[j];
    nbi_tile_put(k, t->c->out, y);
}

static nb_code norm_forward(const nb_call *c)
{
    if (!nbi_keep_columns(c, 1))
        return NB_ERR_MEMORY;
    return nbi_over_tiles(c, NULL, nbi_forward_walk(c), norm_tile);
}

static void norm_back(const nbi_tile_call *t, const nbi_walk *k)
{
    double a[NBI_TILE];
    const double *y = nbi_kept(t->c, k, 0);
    nbi_tile_get(k, t->g, a);
    for (int j = 0; j < k->w; j++)
        a[j] = y[j] == 0 ? 0 : a[j];
    nbi_spread(k, NBI_SPREAD_RATIO, a, y);
}

static nb_code norm_arrays(const nb_call *c, const nb_array *g, nb_array *const *gin,
                           const bool *add)
{
    return nbi_over_tiles(c, g, nbi_reverse_walk(c, gin, add), norm_back);
}

/* u / y, 0 where y is 0 */
static nb_var guarded(nb_var u, nb_var y)
{
    return nb_where(nb_eq(y, nb_num(0)), nb_num(0), nb_div(u, y));
}

static nb_var norm_slope(const nb_rule *r) { return guarded(r->in[0], nbi_held(r, r->out)); }
static nb_code norm_reverse(const nb_rule *r) { return nbi_reverse_by(r, norm_slope(r)); }
static nb_code norm_tangent(const nb_rule *r) { return nbi_tangent_by(r, norm_slope(r)); }

static nb_var norm_sample(nb_sampler *s, int k)
{
    nb_var x;
    nb_axes axes;
    bool keep;
    return nbi_reduction_sample(s, k, &x, &axes, &keep) ? nb_norm_over(x, axes, keep) : NB_NONE;
}

const nb_op nbi_op_norm = {
    .name = "norm",
    .doc = "the Euclidean norm over some axes",
    .shape = nbi_reduction_shape,
    .forward = norm_forward,
    .reverse = norm_reverse,
    .reverse_arrays = norm_arrays,
    .overwrites = true,
    .tangent = norm_tangent,
    .sample = norm_sample,
};

nb_var(nb_norm)(nb_var x) { return nb_norm_over(x, NB_ALL, false); }

nb_var(nb_norm_over)(nb_var x, nb_axes axes, bool keep)
{
    return nbi_reduce(&nbi_op_norm, x, axes, keep, 0);
}

/* ---- var and std ----------------------------------------------------------------------------- */

static nb_code moment_shape(const nb_call *c, nb_shape *out)
{
    nb_code code = nbi_reduction_shape_some(c, out);
    if (code != NB_OK)
        return code;
    const nbi_reduction *s = c->state;
    if (s->nest.cells > 0 && s->nest.n <= s->correction)
        return nb_refuse(c, NB_ERR_EMPTY, "too few elements for the correction",
                         "%lld elements, correction %d", (long long)s->nest.n, s->correction);
    return NB_OK;
}

/* n - c */
static double freedom(const void *state)
{
    const nbi_reduction *s = state;
    return (double)s->nest.n - s->correction;
}

/* m[j] the mean; v[j] the variance times q[j]^2. */
static void variance(const nbi_walk *k, const nbi_reduction *s, double *m, double *q, double *v)
{
    double off[NBI_TILE], n = (double)s->nest.n;
    nbi_fold(k, NBI_FOLD_SUM, NULL, NULL, m);
    for (int j = 0; j < k->w; j++)
        m[j] /= n;
    squares(k, m, q, v);
    nbi_fold(k, NBI_FOLD_CENTRED, m, q, off);
    for (int j = 0; j < k->w; j++) {
        v[j] = (v[j] - off[j] * off[j] / n) / freedom(s);
        v[j] = v[j] < 0 ? 0 : v[j];
    }
}

static void var_tile(const nbi_tile_call *t, const nbi_walk *k)
{
    double q[NBI_TILE], v[NBI_TILE];
    variance(k, t->c->state, nbi_kept(t->c, k, 0), q, v);
    for (int j = 0; j < k->w; j++)
        v[j] = v[j] / q[j] / q[j];
    nbi_tile_put(k, t->c->out, v);
}

static nb_code var_forward(const nb_call *c)
{
    if (!nbi_keep_columns(c, 1))
        return NB_ERR_MEMORY;
    return nbi_over_tiles(c, NULL, nbi_forward_walk(c), var_tile);
}

static void var_back(const nbi_tile_call *t, const nbi_walk *k)
{
    double a[NBI_TILE];
    nbi_tile_get(k, t->g, a);
    for (int j = 0; j < k->w; j++)
        a[j] *= 2 / freedom(t->c->state);
    nbi_spread(k, NBI_SPREAD_CENTRED, a, nbi_kept(t->c, k, 0));
}

static nb_code var_arrays(const nb_call *c, const nb_array *g, nb_array *const *gin,
                          const bool *add)
{
    return nbi_over_tiles(c, g, nbi_reverse_walk(c, gin, add), var_back);
}

static nb_var deviations(const nb_rule *r)
{
    const nbi_reduction *s = r->state;
    return nb_sub(r->in[0], nb_mean_over(r->in[0], s->axes, true));
}

static nb_var var_slope(const nb_rule *r)
{
    return nb_mul(deviations(r), nb_num(2 / freedom(r->state)));
}

static nb_code var_reverse(const nb_rule *r) { return nbi_reverse_by(r, var_slope(r)); }
static nb_code var_tangent(const nb_rule *r) { return nbi_tangent_by(r, var_slope(r)); }

static nb_var var_sample(nb_sampler *s, int k)
{
    nb_var x;
    nb_axes axes;
    bool keep;
    return nbi_reduction_sample(s, k, &x, &axes, &keep) ? nb_var_over(x, axes, 0, keep) : NB_NONE;
}

const nb_op nbi_op_var = {
    .name = "var",
    .doc = "the variance over some axes",
    .shape = moment_shape,
    .forward = var_forward,
    .reverse = var_reverse,
    .reverse_arrays = var_arrays,
    .overwrites = true,
    .tangent = var_tangent,
    .sample = var_sample,
};

nb_var(nb_var_of)(nb_var x, int correction) { return nb_var_over(x, NB_ALL, correction, false); }

nb_var(nb_var_over)(nb_var x, nb_axes axes, int correction, bool keep)
{
    return nbi_reduce(&nbi_op_var, x, axes, keep, correction);
}

static void std_tile(const nbi_tile_call *t, const nbi_walk *k)
{
    double q[NBI_TILE];
    double *y = nbi_kept(t->c, k, 1);
    variance(k, t->c->state, nbi_kept(t->c, k, 0), q, y);
    for (int j = 0; j < k->w; j++)
        y[j] = sqrt(y[j]) / q[j];
    nbi_tile_put(k, t->c->out, y);
}

static nb_code std_forward(const nb_call *c)
{
    if (!nbi_keep_columns(c, 2))
        return NB_ERR_MEMORY;
    return nbi_over_tiles(c, NULL, nbi_forward_walk(c), std_tile);
}

static void std_back(const nbi_tile_call *t, const nbi_walk *k)
{
    double a[NBI_TILE];
    const double *y = nbi_kept(t->c, k, 1);
    nbi_tile_get(k, t->g, a);
    for (int j = 0; j < k->w; j++)
        a[j] = y[j] == 0 || a[j] == 0 ? 0 : a[j] / freedom(t->c->state) / y[j];
    nbi_spread(k, NBI_SPREAD_CENTRED, a, nbi_kept(t->c, k, 0));
}

static nb_code std_arrays(const nb_call *c, const nb_array *g, nb_array *const *gin,
                          const bool *add)
{
    return nbi_over_tiles(c, g, nbi_reverse_walk(c, gin, add), std_back);
}

static nb_var std_slope(const nb_rule *r)
{
    nb_var y = nb_mul(nbi_held(r, r->out), nb_num(freedom(r->state)));
    return guarded(deviations(r), y);
}

static nb_code std_reverse(const nb_rule *r) { return nbi_reverse_by(r, std_slope(r)); }
static nb_code std_tangent(const nb_rule *r) { return nbi_tangent_by(r, std_slope(r)); }

/* A single element has deviation 0 whatever it is: the square root's kink, no place to sample. */
static nb_var std_sample(nb_sampler *s, int k)
{
    static const struct {
        int64_t dims[3];
        int axis;
        bool keep;
    } sample[] = {
        {{2, 9, 3}, 1, false}, {{2, 1, 5}, -1, true}, {{4, 1, 3}, 0, false}, {{0, 2, 3}, 1, false}};
    if (k == 0)
        return nb_std(nb_sample(s, NB_SHAPE(7), -2, 2), 1);
    if (k == 1)
        return nb_std_over(nb_sample(s, NB_SHAPE(3, 2, 4), -2, 2), NB_AXES(0, 2), 0, false);
    if (k - 2 >= (int)(sizeof sample / sizeof *sample))
        return NB_NONE;
    nb_var x = nb_sample(s, nb_shape_make(3, sample[k - 2].dims), -2, 2);
    return nb_std_over(x, NB_AXES(sample[k - 2].axis), 1, sample[k - 2].keep);
}

const nb_op nbi_op_std = {
    .name = "std",
    .doc = "the standard deviation over some axes",
    .shape = moment_shape,
    .forward = std_forward,
    .reverse = std_reverse,
    .reverse_arrays = std_arrays,
    .overwrites = true,
    .tangent = std_tangent,
    .sample = std_sample,
};

nb_var(nb_std)(nb_var x, int correction) { return nb_std_over(x, NB_ALL, correction, false); }

nb_var(nb_std_over)(nb_var x, nb_axes axes, int correction, bool keep)
{
    return nbi_reduce(&nbi_op_std, x, axes, keep, correction);
}
