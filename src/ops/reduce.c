/*
 * Sum, mean and product over a set of axes.
 *
 *     op     y              slope dy/dx[i]
 *     sum    sum of x       1
 *     mean   sum of x / n   1 / n
 *     prod   product of x   the product of the other elements
 *
 * The slope of the product is not y / x[i], which fails where an element is 0. It is the product of
 * the elements before i times that of the elements after i, and both come out of one running
 * product each. The graph rule says the same with cumulative products, which differentiate again.
 *
 * Over no elements the sum is 0 and the product 1; a mean of nothing is an error.
 */
#include "ops/records.h"
#include "ops/reduction.h"
#include "ops/scan.h"
#include "tape/tape.h"
#include <nabla/ops.h>

/* ---- sum: dx = g, everywhere ----------------------------------------------------------------- */

static void sum_tile(const nbi_tile_call *t, const nbi_walk *k)
{
    double y[NBI_TILE];
    nbi_fold(k, NBI_FOLD_SUM, NULL, NULL, y);
    nbi_tile_put(k, t->c->out, y);
}

static nb_code sum_forward(const nb_call *c)
{
    return nbi_over_tiles(c, NULL, nbi_forward_walk(c), sum_tile);
}

static void sum_back(const nbi_tile_call *t, const nbi_walk *k)
{
    double a[NBI_TILE];
    nbi_tile_get(k, t->g, a);
    nbi_spread(k, NBI_SPREAD_LEVEL, a, NULL);
}

static nb_code sum_arrays(const nb_call *c, const nb_array *g, nb_array *const *gin,
                          const bool *add)
{
    return nbi_over_tiles(c, g, nbi_reverse_walk(c, gin, add), sum_back);
}

/* v, of the result's shape, in the shape of x. */
static nb_var widened(const nb_rule *r, nb_var v)
{
    return nb_is_tensor(r->in[0]) ? nb_expand(nbi_held(r, v), nb_shape_of(r->in[0])) : v;
}

static nb_code sum_reverse(const nb_rule *r)
{
    r->d[0] = widened(r, r->g);
    return NB_OK;
}

static nb_code sum_tangent(const nb_rule *r)
{
    const nbi_reduction *s = r->state;
    r->d[0] = nb_sum_over(r->t[0], s->axes, s->keep);
    return NB_OK;
}

static nb_var sum_sample(nb_sampler *s, int k)
{
    nb_var x;
    nb_axes axes;
    bool keep;
    return nbi_reduction_sample(s, k, &x, &axes, &keep) ? nb_sum_over(x, axes, keep) : NB_NONE;
}

const nb_op nbi_op_sum = {
    .name = "sum",
    .doc = "the sum of the elements over some axes",
    .shape = nbi_reduction_shape,
    .forward = sum_forward,
    .reverse = sum_reverse,
    .reverse_arrays = sum_arrays,
    .overwrites = true,
    .tangent = sum_tangent,
    .sample = sum_sample,
};

nb_var(nb_sum)(nb_var x) { return nb_sum_over(x, NB_ALL, false); }

nb_var(nb_sum_over)(nb_var x, nb_axes axes, bool keep)
{
    return nbi_reduce(&nbi_op_sum, x, axes, keep, 0);
}

/* ---- mean: dx = g / n, everywhere ------------------------------------------------------------ */

static double count(const void *state) { return (double)((const nbi_reduction *)state)->nest.n; }

static void mean_tile(const nbi_tile_call *t, const nbi_walk *k)
{
    double y[NBI_TILE], n = count(t->c->state);
    nbi_fold(k, NBI_FOLD_SUM, NULL, NULL, y);
    for (int j = 0; j < k->w; j++)
        y[j] /= n;
    nbi_tile_put(k, t->c->out, y);
}

static nb_code mean_forward(const nb_call *c)
{
    return nbi_over_tiles(c, NULL, nbi_forward_walk(c), mean_tile);
}

static void mean_back(const nbi_tile_call *t, const nbi_walk *k)
{
    double a[NBI_TILE], n = count(t->c->state);
    nbi_tile_get(k, t->g, a);
    for (int j = 0; j < k->w; j++)
        a[j] /= n;
    nbi_spread(k, NBI_SPREAD_LEVEL, a, NULL);
}

static nb_code mean_arrays(const nb_call *c, const nb_array *g, nb_array *const *gin,
                           const bool *add)
{
    return nbi_over_tiles(c, g, nbi_reverse_walk(c, gin, add), mean_back);
}

static nb_code mean_reverse(const nb_rule *r)
{
    r->d[0] = widened(r, nb_div(r->g, nb_num(count(r->state))));
    return NB_OK;
}

static nb_code mean_tangent(const nb_rule *r)
{
    const nbi_reduction *s = r->state;
    r->d[0] = nb_mean_over(r->t[0], s->axes, s->keep);
    return NB_OK;
}

static nb_var mean_sample(nb_sampler *s, int k)
{
    nb_var x;
    nb_axes axes;
    bool keep;
    return nbi_reduction_sample(s, k, &x, &axes, &keep) ? nb_mean_over(x, axes, keep) : NB_NONE;
}

const nb_op nbi_op_mean = {
    .name = "mean",
    .doc = "the mean of the elements over some axes",
    .shape = nbi_reduction_shape_some,
    .forward = mean_forward,
    .reverse = mean_reverse,
    .reverse_arrays = mean_arrays,
    .overwrites = true,
    .tangent = mean_tangent,
    .sample = mean_sample,
};

nb_var(nb_mean)(nb_var x) { return nb_mean_over(x, NB_ALL, false); }

nb_var(nb_mean_over)(nb_var x, nb_axes axes, bool keep)
{
    return nbi_reduce(&nbi_op_mean, x, axes, keep, 0);
}

/* ---- prod: dx[i] = g (product before i) (product after i) ------------------------------------ */

static void prod_tile(const nbi_tile_call *t, const nbi_walk *k)
{
    double y[NBI_TILE];
    nbi_fold(k, NBI_FOLD_PROD, NULL, NULL, y);
    nbi_tile_put(k, t->c->out, y);
}

static nb_code prod_forward(const nb_call *c)
{
    return nbi_over_tiles(c, NULL, nbi_forward_walk(c), prod_tile);
}

/* line[i] becomes g times the product of the others; before is room for n numbers. */
static void times_others(int64_t n, double g, double *line, double *before)
{
    double product = 1;
    for (int64_t i = 0; i < n; i++) {
        before[i] = product;
        product *= line[i];
    }
    product = 1;
    for (int64_t i = n - 1; i >= 0; i--) {
        double x = line[i];
        line[i] = g == 0 ? 0 : g * (before[i] * product);
        product *= x;
    }
}

static nb_code prod_arrays(const nb_call *c, const nb_array *g, nb_array *const *gin,
                           const bool *add)
{
    const nbi_reduction *s = c->state;
    nbi_spot spot = c->tape->scratch.at;
    size_t bytes;
    if (__builtin_mul_overflow((size_t)s->nest.n, 2 * sizeof(double), &bytes))
        return NB_ERR_OVERFLOW;
    double a[NBI_TILE], *line = nbi_scratch(c->tape, bytes);
    if (!line)
        return nbi_no_memory(c->tape, c->op->name);
    for (nbi_walk k = nbi_reverse_walk(c, gin, add); nbi_walk_next(&k);) {
        nbi_tile_get(&k, g, a);
        for (int j = 0; j < k.w; j++) {
            nbi_walk one = nbi_walk_single(&k, j);
            nbi_line_load(&one, line);
            times_others(s->nest.n, a[j], line, line + s->nest.n);
            nbi_line_store(&one, line);
        }
    }
    nbi_give_back(&c->tape->scratch, spot);
    return NB_OK;
}

/* The product of the others, of the shape of x. The folded axes are brought together behind the
 * kept ones, to one axis of n, and taken back afterwards. */
static nb_var prod_slope(const nb_rule *r)
{
    const nbi_reduction *s = r->state;
    nb_var x = r->in[0];
    nb_shape shape = nb_shape_of(x), moved = shape;
    nb_axes order = {shape.rank, {0}}, back = order;
    if (shape.rank < 1)
        return shape.rank < 0 ? nb_num(1) : nb_ones(r->tape, NB_POINT);
    if (nb_size(x) == 0)
        return nb_zeros(r->tape, shape);
    int kept = 0, folded = shape.rank - s->axes.count;
    for (int i = 0; i < shape.rank; i++) {
        bool fold = false;
        for (int a = 0; a < s->axes.count; a++)
            fold = fold || s->axes.axis[a] == i;
        int to = fold ? folded++ : kept++;
        order.axis[to] = i;
        back.axis[i] = to;
        moved.dims[to] = shape.dims[i];
    }
    nb_var lines = nb_reshape(nb_permute(x, order), NB_SHAPE(s->nest.cells, s->nest.n));
    nb_var others = nb_mul(nbi_product_before(lines, 1), nbi_product_after(lines, 1));
    return nb_permute(nb_reshape(others, moved), back);
}

static nb_code prod_reverse(const nb_rule *r) { return nbi_reverse_by(r, prod_slope(r)); }
static nb_code prod_tangent(const nb_rule *r) { return nbi_tangent_by(r, prod_slope(r)); }

static nb_var prod_sample(nb_sampler *s, int k)
{
    nb_var x;
    nb_axes axes;
    bool keep;
    return nbi_reduction_sample(s, k, &x, &axes, &keep) ? nb_prod_over(x, axes, keep) : NB_NONE;
}

const nb_op nbi_op_prod = {
    .name = "prod",
    .doc = "the product of the elements over some axes",
    .shape = nbi_reduction_shape,
    .forward = prod_forward,
    .reverse = prod_reverse,
    .reverse_arrays = prod_arrays,
    .overwrites = true,
    .tangent = prod_tangent,
    .sample = prod_sample,
};

nb_var(nb_prod)(nb_var x) { return nb_prod_over(x, NB_ALL, false); }

nb_var(nb_prod_over)(nb_var x, nb_axes axes, bool keep)
{
    return nbi_reduce(&nbi_op_prod, x, axes, keep, 0);
}
