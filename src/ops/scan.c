/*
 * Running sums and products along an axis, and the recurrence that is their derivative.
 *
 *     cumsum     y[k] = x[0] + … + x[k]
 *     cumprod    y[k] = x[0] … x[k]
 *     recur      r[0] = b[0],  r[k] = b[k] + a[k] r[k-1]     (0 where r[k-1] is 0, whatever a[k])
 *
 * Reverse. An element of a running sum reaches every later result with slope 1, so its adjoint is
 * the running sum of g from the other end. In a running product, with P[i] the product before i,
 *
 *     dx[i] = sum over k >= i of g[k] P[i] x[i+1] … x[k] = P[i] R[i],     R[i] = g[i] + x[i+1]
 * R[i+1]
 *
 * in linear time and without a division, so that zeros do no harm. R is itself a recurrence, run
 * backwards. So is the adjoint of a recurrence:
 *
 *     h[i] = g[i] + a[i+1] h[i+1],     db[i] = h[i],     da[i] = h[i] r[i-1]  (da[0] = 0)
 *
 * and thus the three operations are closed under differentiation to any order.
 */
#include "ops/scan.h"
#include "kernels/reduce.h"
#include "ops/axis.h"
#include "ops/records.h"
#include "tape/tape.h"
#include <nabla/ops.h>

/* ---- lines, a tile of them side by side ------------------------------------------------------ */

typedef struct lines {
    nbi_split s;
    int64_t step; /* from an element to the next of its line; negative: lines run backwards */
    int64_t o, j; /* the tile's place among the lines */
    int64_t at;   /* the first element of its first line */
    int w;        /* its lines */
} lines;

typedef struct scan {
    int axis;
} scan;

static lines lines_of(const nb_call *c, bool backward)
{
    const scan *s = c->state;
    lines k = {.s = nbi_split_at(c->out->rank, c->out->dims, s->axis)};
    k.step = backward ? -k.s.inner : k.s.inner;
    return k;
}

static bool lines_next(lines *k)
{
    k->j += k->w;
    if (k->j >= k->s.inner) {
        k->j = 0;
        k->o++;
    }
    if (k->o >= k->s.outer || k->s.inner == 0 || k->s.n == 0)
        return false;
    k->w = (int)(k->s.inner - k->j < NBI_TILE ? k->s.inner - k->j : NBI_TILE);
    k->at = k->o * k->s.n * k->s.inner + k->j;
    k->at += k->step < 0 ? (k->s.n - 1) * k->s.inner : 0;
    return true;
}

static void set_all(double acc[NBI_TILE], double v)
{
    for (int l = 0; l < NBI_TILE; l++)
        acc[l] = v;
}

/* a b, and 0 where a is 0 */
static double chain(double a, double b) { return a == 0 ? 0 : a * b; }

#define JOINED(a, s) a##_##s
#define EXPAND(a, s) JOINED(a, s)
#define NAME(a)      EXPAND(a, S)

#define T            double
#define S            f64
#include "ops/scan.inc"
#undef T
#undef S

#define T float
#define S f32
#include "ops/scan.inc"
#undef T
#undef S

static nb_code scan_shape(const nb_call *c, nb_shape *out)
{
    scan *s = c->state;
    (void)out; /* that of x */
    return nbi_axis(c, &s->axis, c->in[0].rank) ? NB_OK : NB_ERR_AXIS;
}

/* ---- graph code ------------------------------------------------------------------------------ */

static nb_var flip(nb_var x, int axis) { return nb_flip(x, NB_AXES(axis)); }

/* Element i moves to i + 1, the last falls off, and first stands at 0. */
static nb_var shift(nb_var x, int axis, double first)
{
    if (nb_dim(x, axis) == 0)
        return x;
    return nb_pad(nb_slice(x, axis, 0, -1, 1), axis, 1, 0, first);
}

nb_var nbi_product_before(nb_var x, int axis) { return shift(nb_cumprod(x, axis), axis, 1); }

nb_var nbi_product_after(nb_var x, int axis)
{
    return flip(nbi_product_before(flip(x, axis), axis), axis);
}

static nb_var recur(nb_var a, nb_var b, int axis);

/* h[i] = g[i] + a[i+1] h[i+1] */
static nb_var recur_down(nb_var a, nb_var g, int axis)
{
    return flip(recur(shift(flip(a, axis), axis, 0), flip(g, axis), axis), axis);
}

static int axis_of(const nb_rule *r) { return ((const scan *)r->state)->axis; }

/* ---- cumsum ---------------------------------------------------------------------------------- */

static void running_sum(const nb_call *c, bool backward, const nb_array *x, const nb_array *y,
                        bool add)
{
    if (x->dtype == NB_F64)
        cumsum_f64(lines_of(c, backward), x->data, y->data, add);
    else
        cumsum_f32(lines_of(c, backward), x->data, y->data, add);
}

static nb_code cumsum_forward(const nb_call *c)
{
    running_sum(c, false, &c->in[0], c->out, false);
    return NB_OK;
}

static nb_code cumsum_arrays(const nb_call *c, const nb_array *g, nb_array *const *gin,
                             const bool *add)
{
    if (gin[0])
        running_sum(c, true, g, gin[0], add[0]);
    return NB_OK;
}

static nb_code cumsum_reverse(const nb_rule *r)
{
    int axis = axis_of(r);
    r->d[0] = flip(nb_cumsum(flip(r->g, axis), axis), axis);
    return NB_OK;
}

static nb_code cumsum_tangent(const nb_rule *r)
{
    r->d[0] = nb_cumsum(r->t[0], axis_of(r));
    return NB_OK;
}

static nb_var cumsum_sample(nb_sampler *s, int k)
{
    nb_var x;
    int axis;
    return nbi_axis_sample(s, k, &x, &axis) ? nb_cumsum(x, axis) : NB_NONE;
}

const nb_op nbi_op_cumsum = {
    .name = "cumsum",
    .doc = "running sums along an axis",
    .shape = scan_shape,
    .forward = cumsum_forward,
    .reverse = cumsum_reverse,
    .reverse_arrays = cumsum_arrays,
    .overwrites = true,
    .tangent = cumsum_tangent,
    .sample = cumsum_sample,
};

nb_var(nb_cumsum)(nb_var x, int axis)
{
    scan s = {axis};
    return nb_apply(&nbi_op_cumsum, 1, &x, &s, sizeof s);
}

/* ---- cumprod --------------------------------------------------------------------------------- */

static nb_code cumprod_forward(const nb_call *c)
{
    if (c->out->dtype == NB_F64)
        cumprod_f64(lines_of(c, false), c->in[0].data, c->out->data);
    else
        cumprod_f32(lines_of(c, false), c->in[0].data, c->out->data);
    return NB_OK;
}

static nb_code cumprod_arrays(const nb_call *c, const nb_array *g, nb_array *const *gin,
                              const bool *add)
{
    lines k = lines_of(c, false);
    nbi_spot spot = c->tape->scratch.at;
    int64_t wide = k.s.inner < NBI_TILE ? k.s.inner : NBI_TILE;
    size_t bytes;
    if (!gin[0])
        return NB_OK;
    if (__builtin_mul_overflow((size_t)k.s.n, (size_t)wide * sizeof(double), &bytes))
        return NB_ERR_OVERFLOW;
    double *before = nbi_scratch(c->tape, bytes);
    if (!before)
        return nbi_no_memory(c->tape, c->op->name);
    if (g->dtype == NB_F64)
        cumprod_back_f64(k, c->in[0].data, g->data, gin[0]->data, add[0], before);
    else
        cumprod_back_f32(k, c->in[0].data, g->data, gin[0]->data, add[0], before);
    nbi_give_back(&c->tape->scratch, spot);
    return NB_OK;
}

static nb_code cumprod_reverse(const nb_rule *r)
{
    int axis = axis_of(r);
    r->d[0] = nb_chain(recur_down(r->in[0], r->g, axis), nbi_product_before(r->in[0], axis));
    return NB_OK;
}

/* ty[k] = x[k] ty[k-1] + y[k-1] tx[k] */
static nb_code cumprod_tangent(const nb_rule *r)
{
    int axis = axis_of(r);
    nb_var own = nb_chain(r->t[0], nbi_product_before(r->in[0], axis));
    r->d[0] = recur(r->in[0], own, axis);
    return NB_OK;
}

static nb_var cumprod_sample(nb_sampler *s, int k)
{
    nb_var x;
    int axis;
    return nbi_axis_sample(s, k, &x, &axis) ? nb_cumprod(x, axis) : NB_NONE;
}

const nb_op nbi_op_cumprod = {
    .name = "cumprod",
    .doc = "running products along an axis",
    .shape = scan_shape,
    .forward = cumprod_forward,
    .reverse = cumprod_reverse,
    .reverse_arrays = cumprod_arrays,
    .overwrites = true,
    .tangent = cumprod_tangent,
    .sample = cumprod_sample,
};

nb_var(nb_cumprod)(nb_var x, int axis)
{
    scan s = {axis};
    return nb_apply(&nbi_op_cumprod, 1, &x, &s, sizeof s);
}

/* ---- recur ----------------------------------------------------------------------------------- */

static nb_code recur_shape(const nb_call *c, nb_shape *out)
{
    const nb_array *a = &c->in[0], *b = &c->in[1];
    bool same = a->rank == b->rank;
    for (int i = 0; same && i < a->rank; i++)
        same = a->dims[i] == b->dims[i];
    if (!same)
        return nb_refuse(c, NB_ERR_SHAPE, "the operands differ in shape", NULL);
    return scan_shape(c, out);
}

static nb_code recur_forward(const nb_call *c)
{
    if (c->out->dtype == NB_F64)
        recur_f64(lines_of(c, false), c->in[0].data, c->in[1].data, c->out->data);
    else
        recur_f32(lines_of(c, false), c->in[0].data, c->in[1].data, c->out->data);
    return NB_OK;
}

static nb_code recur_arrays(const nb_call *c, const nb_array *g, nb_array *const *gin,
                            const bool *add)
{
    void *da = gin[0] ? gin[0]->data : NULL, *db = gin[1] ? gin[1]->data : NULL;
    if (g->dtype == NB_F64)
        recur_back_f64(lines_of(c, false), c->in[0].data, c->out->data, g->data, da, db, add);
    else
        recur_back_f32(lines_of(c, false), c->in[0].data, c->out->data, g->data, da, db, add);
    return NB_OK;
}

static nb_code recur_reverse(const nb_rule *r)
{
    int axis = axis_of(r);
    nb_var h = recur_down(r->in[0], r->g, axis);
    if (r->want[0])
        r->d[0] = nb_chain(h, shift(r->out, axis, 0));
    if (r->want[1])
        r->d[1] = h;
    return NB_OK;
}

/* tr[k] = (tb[k] + ta[k] r[k-1]) + a[k] tr[k-1] */
static nb_code recur_tangent(const nb_rule *r)
{
    int axis = axis_of(r);
    nb_var own = r->want[0] ? nb_chain(r->t[0], shift(r->out, axis, 0)) : r->t[1];
    if (r->want[0] && r->want[1])
        own = nb_add(own, r->t[1]);
    r->d[0] = recur(r->in[0], own, axis);
    return NB_OK;
}

static nb_var recur_sample(nb_sampler *s, int k)
{
    nb_var a, b;
    int axis;
    if (!nbi_axis_sample(s, k, &a, &axis) || !nbi_axis_sample(s, k, &b, &axis))
        return NB_NONE;
    return recur(a, b, axis);
}

const nb_op nbi_op_recur = {
    .name = "recur",
    .doc = "the linear recurrence r[k] = b[k] + a[k] r[k-1] along an axis",
    .shape = recur_shape,
    .forward = recur_forward,
    .reverse = recur_reverse,
    .reverse_arrays = recur_arrays,
    .overwrites = true,
    .tangent = recur_tangent,
    .sample = recur_sample,
};

static nb_var recur(nb_var a, nb_var b, int axis)
{
    const nb_var in[] = {a, b};
    scan s = {axis};
    return nb_apply(&nbi_op_recur, 2, in, &s, sizeof s);
}
