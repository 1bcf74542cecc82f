/*
 * The greatest element in each window, and the two linear maps that its derivative consists of.
 *
 *     max_pool    y[o] = the greatest x[i] of window o
 *     max_place   dx[i] = sum over the windows of i of slope[o, i] g[o]
 *     max_pick    dy[o] = sum over window o of slope[o, i] v[i]
 *
 * slope[o, i] is 1 over the number of elements that are equal to y[o] where x[i] is one of them, and 0
 * elsewhere: of all weights that sum to 1 over a tie, the equal ones are those of least norm, as for
 * amax. Where the slopes are NaN is said in kernels/pool.h. The slopes are constant wherever they
 * exist, so place and pick, each other's transpose, have derivatives by their first operand only; x
 * and y just tell the winners.
 */
#include "ops/pooling.h"
#include "ops/records.h"

static nb_var apply(const nb_op *op, nb_var v, nb_var x, nb_var y, const void *state)
{
    return nb_apply(op, 3, (nb_var[]){v, x, y}, state, sizeof(nbi_pool_state));
}

/* ---- max_pool -------------------------------------------------------------------------------- */

static nb_code max_shape(const nb_call *c, nb_shape *out)
{
    nb_shape large;
    return nbi_pool_shape(c, 0, NULL, &large, out) ? NB_OK : NB_ERR_SHAPE;
}

static nb_code max_forward(const nb_call *c)
{
    const nbi_pool_arrays a = {.x = c->in[0].data, .to = c->out->data};
    return nbi_pool_run(c, NBI_POOL_MAX, c->out->dtype, &a);
}

static nb_code max_reverse(const nb_rule *r)
{
    r->d[0] = apply(&nbi_op_max_place, r->g, r->in[0], r->out, r->state);
    return NB_OK;
}

static nb_code max_reverse_arrays(const nb_call *c, const nb_array *g, nb_array *const *gin,
                                  const bool *add)
{
    if (!gin[0])
        return NB_OK;
    const nbi_pool_arrays a = {.x = c->in[0].data, .y = c->out->data, .from = g->data,
                               .to = gin[0]->data, .add = add[0]};
    return nbi_pool_run(c, NBI_POOL_MAX_PLACE, g->dtype, &a);
}

static nb_code max_tangent(const nb_rule *r)
{
    r->d[0] = apply(&nbi_op_max_pick, r->t[0], r->in[0], r->out, r->state);
    return NB_OK;
}

static nb_var max_sample(nb_sampler *s, int k)
{
    nbi_pool_state of;
    nb_shape shape;
    if (!nbi_pool_sample(k, &of, &shape))
        return NB_NONE;
    nb_var x = nb_sample(s, shape, -2, 2);
    return nb_apply(&nbi_op_max_pool, 1, &x, &of, sizeof of);
}

const nb_op nbi_op_max_pool = {
    .name = "max_pool",
    .doc = "the greatest element in each window",
    .shape = max_shape,
    .forward = max_forward,
    .reverse = max_reverse,
    .reverse_arrays = max_reverse_arrays,
    .overwrites = true,
    .tangent = max_tangent,
    .sample = max_sample,
};

nb_var(nb_max_pool1d)(nb_var x, int64_t window, const nb_pool_options *options)
{
    const nbi_pool_state s = nbi_pool_start(1, &window, options);
    return nb_apply(&nbi_op_max_pool, 1, &x, &s, sizeof s);
}

nb_var(nb_max_pool2d)(nb_var x, int64_t rows, int64_t columns, const nb_pool_options *options)
{
    const nbi_pool_state s = nbi_pool_start(2, (const int64_t[]){rows, columns}, options);
    return nb_apply(&nbi_op_max_pool, 1, &x, &s, sizeof s);
}

/* ---- max_place, max_pick --------------------------------------------------------------------- */

static nb_code place_shape(const nb_call *c, nb_shape *out)
{
    nb_shape small;
    bool fits = nbi_pool_shape(c, 1, NULL, out, &small) &&
                nbi_pool_fits(c, 0, "the first", &small) && nbi_pool_fits(c, 2, "y", &small);
    return fits ? NB_OK : NB_ERR_SHAPE;
}

static nb_code pick_shape(const nb_call *c, nb_shape *out)
{
    nb_shape large;
    bool fits = nbi_pool_shape(c, 1, NULL, &large, out) &&
                nbi_pool_fits(c, 0, "the first", &large) && nbi_pool_fits(c, 2, "y", out);
    return fits ? NB_OK : NB_ERR_SHAPE;
}

static nb_code linear(const nb_call *c, nbi_pool_map map, const nb_array *from, const nb_array *to,
                      bool add)
{
    const nbi_pool_arrays a = {.x = c->in[1].data, .y = c->in[2].data, .from = from->data,
                               .to = to->data, .add = add};
    return nbi_pool_run(c, map, to->dtype, &a);
}

static nb_code place_forward(const nb_call *c)
{
    return linear(c, NBI_POOL_MAX_PLACE, &c->in[0], c->out, false);
}

static nb_code pick_forward(const nb_call *c)
{
    return linear(c, NBI_POOL_MAX_PICK, &c->in[0], c->out, false);
}

static nb_code place_reverse(const nb_rule *r)
{
    if (r->want[0])
        r->d[0] = apply(&nbi_op_max_pick, r->g, r->in[1], r->in[2], r->state);
    return NB_OK;
}

static nb_code pick_reverse(const nb_rule *r)
{
    if (r->want[0])
        r->d[0] = apply(&nbi_op_max_place, r->g, r->in[1], r->in[2], r->state);
    return NB_OK;
}

static nb_code place_tangent(const nb_rule *r)
{
    if (r->want[0])
        r->d[0] = apply(&nbi_op_max_place, r->t[0], r->in[1], r->in[2], r->state);
    return NB_OK;
}

static nb_code pick_tangent(const nb_rule *r)
{
    if (r->want[0])
        r->d[0] = apply(&nbi_op_max_pick, r->t[0], r->in[1], r->in[2], r->state);
    return NB_OK;
}

/* Example k: constant x and y, and v of the shape of one of them. */
static nb_var linear_sample(nb_sampler *s, int k, const nb_op *op, bool pick)
{
    nbi_pool_state of;
    nb_shape shape;
    if (!nbi_pool_sample(k, &of, &shape))
        return NB_NONE;
    nb_var x = nb_detach(nb_sample(s, shape, -2, 2));
    nb_var y = nb_detach(nb_apply(&nbi_op_max_pool, 1, &x, &of, sizeof of));
    return apply(op, nb_sample(s, nb_shape_of(pick ? x : y), -2, 2), x, y, &of);
}

static nb_var place_sample(nb_sampler *s, int k)
{
    return linear_sample(s, k, &nbi_op_max_place, false);
}

static nb_var pick_sample(nb_sampler *s, int k)
{
    return linear_sample(s, k, &nbi_op_max_pick, true);
}

const nb_op nbi_op_max_place = {
    .name = "max_place",
    .doc = "what windows get, shared among their greatest elements",
    .shape = place_shape,
    .forward = place_forward,
    .reverse = place_reverse,
    .tangent = place_tangent,
    .sample = place_sample,
};

const nb_op nbi_op_max_pick = {
    .name = "max_pick",
    .doc = "the mean over the places of the greatest elements in each window",
    .shape = pick_shape,
    .forward = pick_forward,
    .reverse = pick_reverse,
    .tangent = pick_tangent,
    .sample = pick_sample,
};
