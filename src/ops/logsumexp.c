/*
 * The logarithm of the sum of exponentials, over some axes.
 *
 *     y = log sum over i of e^x[i]  =  m + log s,     s = sum over i of e^(x[i] - m),  m = max of x
 *
 *     slope dy/dx[i] = e^x[i] / sum of e^x = e^(x[i] - m) / s: the softmax of x
 *
 * The shift by the true maximum makes one term of s exactly 1 and none larger, so nothing overflows
 * and s loses nothing. m and s are kept, rather than the softmax recovered as e^(x - y): at x =
 * [1000, 1000] that would be .5000000000000275, because y has only so many digits behind its 1000.
 *
 * Infinite maxima. With e^(m - m) counted as 1 the formulas still hold: [inf, 0] gives inf with
 * slopes (1, 0), and [-inf, -inf] gives -inf. There every slope is as good as any other, and the
 * one of least norm is taken: 0. Over no elements y is -inf.
 */
#include "ops/records.h"
#include "ops/softmax.h"
#include "kernels/vmath.h"
#include "tape/tape.h"
#include <nabla/ops.h>

#include <math.h>

nbi_walk nbi_with_exp(const nb_call *c, nbi_walk k)
{
    k.vmath = nbi_vmath_choose(c->tape->isa, k.dtype == NB_F64);
    return k;
}

static bool tame(const nbi_walk *k, const double *m)
{
    for (int j = 0; j < k->w; j++)
        if (isinf(m[j]))
            return false;
    return true;
}

/* A tile with an infinite maximum is rare, and taken apart into single results. */
static void sum_above(const nbi_walk *k, const double *m, double *s)
{
    if (tame(k, m)) {
        nbi_fold(k, NBI_FOLD_EXP, m, NULL, s);
        return;
    }
    for (int j = 0; j < k->w; j++) {
        nbi_walk one = nbi_walk_single(k, j);
        nbi_fold(&one, isinf(m[j]) ? NBI_FOLD_EQUAL : NBI_FOLD_EXP, m + j, NULL, s + j);
    }
}

/* ---- long runs ------------------------------------------------------------------------------- */

/* A run that is longer than a cache is taken in pieces, each read twice while it is near: for its own maximum
 * and for the sum above that. Then s is the sum over pieces of e^(m_p - m) s_p. The pieces follow from the
 * length alone, so a crew may share them. */
enum { PIECE = 4096, PIECES = 256, GRAIN = 8 };

typedef struct pieces {
    const nbi_walk *k;
    int64_t size;
    double m[PIECES], s[PIECES];
} pieces;

/* A NaN that a quick maximum may miss is in the sum; but not beside infinities, which are only counted. */
static void sum_piece(const nbi_walk *k, double *m, double *s)
{
    const size_t width = k->dtype == NB_F64 ? sizeof(double) : sizeof(float);
    *m = k->vmath->most(k->nest->run, (const char *)k->x + (size_t)k->at * width);
    if (isinf(*m))
        nbi_fold(k, NBI_FOLD_MAX, NULL, NULL, m);
    sum_above(k, m, s);
}

static void sum_pieces(void *context, int64_t from, int64_t to, int worker)
{
    pieces *c = context;
    (void)worker;
    for (int64_t p = from; p < to; p++) {
        const int64_t at = p * c->size, run = c->k->nest->run;
        nbi_nest nest;
        nbi_walk piece = nbi_walk_cut(c->k, &nest, at, at + c->size < run ? at + c->size : run);
        piece.crew = NULL;
        sum_piece(&piece, &c->m[p], &c->s[p]);
    }
}

static void sum_long(const nbi_walk *k, double *m, double *s)
{
    const int64_t run = k->nest->run, even = (run - 1) / PIECES + 1;
    pieces c = {.k = k, .size = even > PIECE ? even : PIECE};
    const int64_t count = (run - 1) / c.size + 1;
    if (k->crew)
        nbi_crew_share(k->crew, count, GRAIN, sum_pieces, &c);
    else
        sum_pieces(&c, 0, count, 0);
    *m = c.m[0];
    for (int64_t p = 1; p < count; p++)
        *m = c.m[p] > *m || isnan(c.m[p]) ? c.m[p] : *m;
    *s = 0;
    for (int64_t p = 0; p < count; p++)
        *s += c.m[p] == *m ? c.s[p] : exp(c.m[p] - *m) * c.s[p];
}

void nbi_shifted_sum(const nbi_walk *k, double *m, double *s)
{
    if (k->nest->along == 1 && k->nest->turns == 1 && k->nest->run > PIECE) {
        for (int j = 0; j < k->w; j++) {
            const nbi_walk one = nbi_walk_single(k, j);
            sum_long(&one, m + j, s + j);
        }
        return;
    }
    nbi_fold(k, NBI_FOLD_MAX, NULL, NULL, m);
    sum_above(k, m, s);
}

void nbi_shifted_spread(const nbi_walk *k, const double *m, const double *a)
{
    const double none = 0;
    if (tame(k, m)) {
        nbi_spread(k, NBI_SPREAD_EXP, a, m);
        return;
    }
    for (int j = 0; j < k->w; j++) {
        nbi_walk one = nbi_walk_single(k, j);
        nbi_spread_kind kind = isinf(m[j]) ? NBI_SPREAD_EQUAL : NBI_SPREAD_EXP;
        nbi_spread(&one, kind, m[j] == -(double)INFINITY ? &none : a + j, m + j);
    }
}

static void logsumexp_tile(const nbi_tile_call *t, const nbi_walk *k)
{
    double y[NBI_TILE];
    double *m = nbi_kept(t->c, k, 0), *s = nbi_kept(t->c, k, 1);
    nbi_shifted_sum(k, m, s);
    for (int j = 0; j < k->w; j++)
        y[j] = m[j] + log(s[j]);
    nbi_tile_put(k, t->c->out, y);
}

static nb_code logsumexp_forward(const nb_call *c)
{
    if (!nbi_keep_columns(c, 2))
        return NB_ERR_MEMORY;
    return nbi_over_tiles(c, NULL, nbi_with_exp(c, nbi_forward_walk(c)), logsumexp_tile);
}

static void logsumexp_back(const nbi_tile_call *t, const nbi_walk *k)
{
    double a[NBI_TILE];
    const double *s = nbi_kept(t->c, k, 1);
    nbi_tile_get(k, t->g, a);
    for (int j = 0; j < k->w; j++)
        a[j] = a[j] == 0 ? 0 : a[j] / s[j];
    nbi_shifted_spread(k, nbi_kept(t->c, k, 0), a);
}

static nb_code logsumexp_arrays(const nb_call *c, const nb_array *g, nb_array *const *gin,
                                const bool *add)
{
    return nbi_over_tiles(c, g, nbi_with_exp(c, nbi_reverse_walk(c, gin, add)), logsumexp_back);
}

static nb_var logsumexp_slope(const nb_rule *r)
{
    const nbi_reduction *s = r->state;
    return nb_is_tensor(r->in[0]) ? nbi_softmax_over(r->in[0], s->axes) : nb_num(1);
}

static nb_code logsumexp_reverse(const nb_rule *r) { return nbi_reverse_by(r, logsumexp_slope(r)); }
static nb_code logsumexp_tangent(const nb_rule *r) { return nbi_tangent_by(r, logsumexp_slope(r)); }

static nb_var logsumexp_sample(nb_sampler *s, int k)
{
    nb_var x;
    nb_axes axes;
    bool keep;
    return nbi_reduction_sample(s, k, &x, &axes, &keep) ? nb_logsumexp_over(x, axes, keep)
                                                        : NB_NONE;
}

const nb_op nbi_op_logsumexp = {
    .name = "logsumexp",
    .doc = "the logarithm of the sum of exponentials over some axes",
    .shape = nbi_reduction_shape,
    .forward = logsumexp_forward,
    .reverse = logsumexp_reverse,
    .reverse_arrays = logsumexp_arrays,
    .overwrites = true,
    .tangent = logsumexp_tangent,
    .sample = logsumexp_sample,
};

nb_var(nb_logsumexp)(nb_var x) { return nb_logsumexp_over(x, NB_ALL, false); }

nb_var(nb_logsumexp_over)(nb_var x, nb_axes axes, bool keep)
{
    return nbi_reduce(&nbi_op_logsumexp, x, axes, keep, 0);
}
