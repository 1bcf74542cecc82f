/*
 * The greatest and the least element over some axes, and where along an axis they stand.
 *
 *     y = max of x          slope dy/dx[i] = [x[i] = y] / (number of elements equal to y)
 *
 * Elements that tie share the gradient equally: of all weights that sum to 1 over the tie, the
 * equal ones are those of least norm. A NaN among the elements is the result, and makes all slopes
 * NaN (no element equals y: 0 / 0).
 *
 * The index operations record nothing: an index has no derivative. They take the first of equals,
 * and the first NaN before all numbers.
 */
#include "ops/axis.h"
#include "ops/records.h"
#include "ops/reduction.h"
#include "tape/tape.h"
#include <nabla/ops.h>

/* ---- amax, amin ------------------------------------------------------------------------------ */

static void extreme_tile(const nbi_tile_call *t, const nbi_walk *k)
{
    double y[NBI_TILE];
    nbi_fold(k, t->c->op == &nbi_op_amax ? NBI_FOLD_MAX : NBI_FOLD_MIN, NULL, NULL, y);
    nbi_tile_put(k, t->c->out, y);
}

static nb_code extreme_forward(const nb_call *c)
{
    return nbi_over_tiles(c, NULL, nbi_forward_walk(c), extreme_tile);
}

static void extreme_back(const nbi_tile_call *t, const nbi_walk *k)
{
    double a[NBI_TILE], y[NBI_TILE], ties[NBI_TILE];
    nbi_tile_get(k, t->g, a);
    nbi_tile_get(k, t->c->out, y);
    nbi_fold(k, NBI_FOLD_EQUAL, y, NULL, ties);
    for (int j = 0; j < k->w; j++)
        a[j] = a[j] == 0 ? 0 : a[j] / ties[j];
    nbi_spread(k, NBI_SPREAD_EQUAL, a, y);
}

static nb_code extreme_arrays(const nb_call *c, const nb_array *g, nb_array *const *gin,
                              const bool *add)
{
    return nbi_over_tiles(c, g, nbi_reverse_walk(c, gin, add), extreme_back);
}

static nb_var extreme_slope(const nb_rule *r)
{
    const nbi_reduction *s = r->state;
    nb_var equal = nb_eq(r->in[0], nbi_held(r, r->out));
    return nb_div(equal, nb_sum_over(equal, s->axes, true));
}

static nb_code extreme_reverse(const nb_rule *r) { return nbi_reverse_by(r, extreme_slope(r)); }
static nb_code extreme_tangent(const nb_rule *r) { return nbi_tangent_by(r, extreme_slope(r)); }

static nb_var amax_sample(nb_sampler *s, int k)
{
    nb_var x;
    nb_axes axes;
    bool keep;
    return nbi_reduction_sample(s, k, &x, &axes, &keep) ? nb_amax_over(x, axes, keep) : NB_NONE;
}

static nb_var amin_sample(nb_sampler *s, int k)
{
    nb_var x;
    nb_axes axes;
    bool keep;
    return nbi_reduction_sample(s, k, &x, &axes, &keep) ? nb_amin_over(x, axes, keep) : NB_NONE;
}

const nb_op nbi_op_amax = {
    .name = "amax",
    .doc = "the greatest element over some axes",
    .shape = nbi_reduction_shape_some,
    .forward = extreme_forward,
    .reverse = extreme_reverse,
    .reverse_arrays = extreme_arrays,
    .overwrites = true,
    .tangent = extreme_tangent,
    .sample = amax_sample,
};

const nb_op nbi_op_amin = {
    .name = "amin",
    .doc = "the least element over some axes",
    .shape = nbi_reduction_shape_some,
    .forward = extreme_forward,
    .reverse = extreme_reverse,
    .reverse_arrays = extreme_arrays,
    .overwrites = true,
    .tangent = extreme_tangent,
    .sample = amin_sample,
};

nb_var(nb_amax)(nb_var x) { return nb_amax_over(x, NB_ALL, false); }
nb_var(nb_amin)(nb_var x) { return nb_amin_over(x, NB_ALL, false); }

nb_var(nb_amax_over)(nb_var x, nb_axes axes, bool keep)
{
    return nbi_reduce(&nbi_op_amax, x, axes, keep, 0);
}

nb_var(nb_amin_over)(nb_var x, nb_axes axes, bool keep)
{
    return nbi_reduce(&nbi_op_amin, x, axes, keep, 0);
}

/* ---- argmax, argmin -------------------------------------------------------------------------- */

/* Lines side by side, a tile of them at a time; with sign -1 the least element is found. */
static void find(const nb_array *x, nbi_split s, double sign, int64_t *out)
{
    double best[NBI_TILE], v[NBI_TILE];
    for (int64_t o = 0; o < s.outer; o++)
        for (int64_t j = 0; j < s.inner; j += NBI_TILE) {
            int w = (int)(s.inner - j < NBI_TILE ? s.inner - j : NBI_TILE);
            int64_t *at = out + o * s.inner + j;
            for (int64_t i = 0; i < s.n; i++) {
                nbi_get(x->dtype, x->data, (o * s.n + i) * s.inner + j, w, v);
                for (int l = 0; l < w; l++) {
                    double now = sign * v[l];
                    if (i == 0 || (best[l] == best[l] && !(now <= best[l]))) {
                        best[l] = now;
                        at[l] = i;
                    }
                }
            }
        }
}

static nb_code locate(const nb_op *op, nb_var x, int axis, double sign, int64_t *out)
{
    if (!nbi_check(op->name, x))
        return x.tape ? nb_status(x.tape) : NB_ERR_HANDLE;
    nb_shape shape = nb_shape_of(x);
    nb_array array = {NULL, shape.dims, nb_size(x), shape.rank, nb_tape_dtype(x.tape)};
    nb_call c = {.tape = x.tape, .op = op, .n_in = 1, .in = &array, .vars = &x};
    if (!nbi_axis(&c, &axis, shape.rank))
        return NB_ERR_AXIS;
    if (array.size == 0 && shape.dims[axis] != 0)
        return NB_OK;
    if (shape.dims[axis] == 0)
        return nb_refuse(&c, NB_ERR_EMPTY, "the axis has no elements", NULL);
    if (!out)
        return nb_refuse(&c, NB_ERR_ARGUMENT, "there is no room for the indices", NULL);
    array.data = (void *)(uintptr_t)nb_data(x);
    find(&array, nbi_split_at(shape.rank, shape.dims, axis), sign, out);
    return NB_OK;
}

nb_code(nb_argmax)(nb_var x, int axis, int64_t *out)
{
    static const nb_op op = {.name = "argmax"};
    return locate(&op, x, axis, 1, out);
}

nb_code(nb_argmin)(nb_var x, int axis, int64_t *out)
{
    static const nb_op op = {.name = "argmin"};
    return locate(&op, x, axis, -1, out);
}
