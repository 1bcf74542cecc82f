/*
 * The mean of each window, and its transpose.
 *
 *     average_pool    y[o] = sum over window o of x[i] / d[o]
 *     average_place   x[i] = sum over the windows of i of y[o] / d[o]
 *
 * d[o] is the number of the window's places, those in the padding counted or not. Both are linear and
 * each is the other's transpose, so each is the other's reverse rule and its own tangent rule.
 */
#include "ops/pooling.h"
#include "ops/records.h"

static nb_code run(const nb_call *c, nbi_pool_map map, const nb_array *from, const nb_array *to,
                   bool add)
{
    const nbi_pool_arrays a = {.from = from->data, .to = to->data, .add = add};
    return nbi_pool_run(c, map, to->dtype, &a);
}

/* ---- as graph -------------------------------------------------------------------------------- */

static nb_var pool(nb_var x, const nbi_pool_state *s)
{
    return nb_apply(&nbi_op_average_pool, 1, &x, s, sizeof *s);
}

static nb_var place(nb_var y, const nbi_pool_state *s)
{
    nbi_pool_state of = *s;
    for (int i = 0; i < s->axes; i++)
        of.in[i] = s->pool.axis[2 - s->axes + i].in;
    return nb_apply(&nbi_op_average_place, 1, &y, &of, sizeof of);
}

/* ---- average_pool ---------------------------------------------------------------------------- */

static nb_code pool_shape(const nb_call *c, nb_shape *out)
{
    nb_shape large;
    return nbi_pool_shape(c, 0, NULL, &large, out) ? NB_OK : NB_ERR_SHAPE;
}

static nb_code pool_forward(const nb_call *c)
{
    return run(c, NBI_POOL_MEAN, &c->in[0], c->out, false);
}

static nb_code pool_reverse(const nb_rule *r)
{
    r->d[0] = place(r->g, r->state);
    return NB_OK;
}

static nb_code pool_reverse_arrays(const nb_call *c, const nb_array *g, nb_array *const *gin,
                                   const bool *add)
{
    return gin[0] ? run(c, NBI_POOL_MEAN_PLACE, g, gin[0], add[0]) : NB_OK;
}

static nb_code pool_tangent(const nb_rule *r)
{
    r->d[0] = pool(r->t[0], r->state);
    return NB_OK;
}

static nb_var pool_sample(nb_sampler *s, int k)
{
    nbi_pool_state of;
    nb_shape shape;
    return nbi_pool_sample(k, &of, &shape) ? pool(nb_sample(s, shape, -2, 2), &of) : NB_NONE;
}

const nb_op nbi_op_average_pool = {
    .name = "average_pool",
    .doc = "the mean of each window",
    .shape = pool_shape,
    .forward = pool_forward,
    .reverse = pool_reverse,
    .reverse_arrays = pool_reverse_arrays,
    .overwrites = true,
    .tangent = pool_tangent,
    .sample = pool_sample,
};

nb_var(nb_average_pool1d)(nb_var x, int64_t window, const nb_pool_options *options)
{
    const nbi_pool_state s = nbi_pool_start(1, &window, options);
    return pool(x, &s);
}

nb_var(nb_average_pool2d)(nb_var x, int64_t rows, int64_t columns, const nb_pool_options *options)
{
    const nbi_pool_state s = nbi_pool_start(2, (const int64_t[]){rows, columns}, options);
    return pool(x, &s);
}

/* ---- average_place --------------------------------------------------------------------------- */

static nb_code place_shape(const nb_call *c, nb_shape *out)
{
    const nbi_pool_state *s = c->state;
    nb_shape small;
    bool fits = nbi_pool_shape(c, 0, s->in, out, &small) &&
                nbi_pool_fits(c, 0, "y", &small);
    return fits ? NB_OK : NB_ERR_SHAPE;
}

static nb_code place_forward(const nb_call *c)
{
    return run(c, NBI_POOL_MEAN_PLACE, &c->in[0], c->out, false);
}

static nb_code place_reverse(const nb_rule *r)
{
    r->d[0] = pool(r->g, r->state);
    return NB_OK;
}

static nb_code place_reverse_arrays(const nb_call *c, const nb_array *g, nb_array *const *gin,
                                    const bool *add)
{
    return gin[0] ? run(c, NBI_POOL_MEAN, g, gin[0], add[0]) : NB_OK;
}

static nb_code place_tangent(const nb_rule *r)
{
    r->d[0] = place(r->t[0], r->state);
    return NB_OK;
}

static nb_var place_sample(nb_sampler *s, int k)
{
    static const struct {
        nb_shape y;
        int64_t in[2], window[2];
        nb_pool_options o;
    } sample[] = {
        {{3, {2, 1, 3}}, {7}, {2}, {.count_padding = false}},
        {{3, {1, 2, 4}}, {8}, {3}, {.stride = {2}, .padding = {1}}},
        {{4, {1, 2, 2, 2}}, {4, 5}, {2, 2}, {.count_padding = true}},
        {{4, {1, 1, 4, 4}}, {4, 3}, {3, 2}, {.stride = {1, 1}, .padding = {1, 1}}},
        {{4, {0, 2, 2, 2}}, {4, 4}, {2, 2}, {.count_padding = false}},
    };
    if (k >= (int)(sizeof sample / sizeof *sample))
        return NB_NONE;
    nbi_pool_state of = nbi_pool_start(sample[k].y.rank - 2, sample[k].window, &sample[k].o);
    for (int i = 0; i < of.axes; i++)
        of.in[i] = sample[k].in[i];
    nb_var y = nb_sample(s, sample[k].y, -2, 2);
    return nb_apply(&nbi_op_average_place, 1, &y, &of, sizeof of);
}

const nb_op nbi_op_average_place = {
    .name = "average_place",
    .doc = "each window's share of an element, spread over its places",
    .shape = place_shape,
    .forward = place_forward,
    .reverse = place_reverse,
    .reverse_arrays = place_reverse_arrays,
    .overwrites = true,
    .tangent = place_tangent,
    .sample = place_sample,
};
