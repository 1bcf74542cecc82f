/*
 * Walks, folds and spreads: see reduce.h.
 *
 * A total carries the error of its additions along: with t = s + x rounded, the part of x that did
 * not make it into t is computed exactly (Knuth's two-sum) and summed beside it. If the total
 * overflows, or an element is infinite, that part is NaN and the total itself is the answer.
 *
 * The loops are templates: fold.inc, join.inc and spread.inc hold one loop each in its two layouts,
 * reduce.inc includes them once per kind with the term as a one-line macro, and this file includes
 * reduce.inc once per element type.
 */
#include "kernels/reduce.h"

#include <math.h>

enum { LANES = 8, CHUNK = 512, ELEMENTS = 4096 };

static inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

/* ---- the nest -------------------------------------------------------------------------------- */

/* Dimensions of an array that holds no element may overflow; then the product does not matter. */
static int64_t times(int64_t a, int64_t b)
{
    int64_t p;
    return __builtin_mul_overflow(a, b, &p) ? INT64_MAX : p;
}

/* The offset of the k-th turn of the loops outside the innermost one. */
static int64_t place(const nbi_loop *loop, int n, int64_t k)
{
    int64_t at = 0;
    for (int i = 1; i + 1 < n; i++, k /= loop[i - 1].size)
        at += k % loop[i].size * loop[i].step;
    return n > 1 ? at + k * loop[n - 1].step : 0;
}

void nbi_nest_make(nbi_nest *n, int rank, const int64_t *dims, const bool *folded)
{
    bool last = false, any = false;
    int64_t step = 1;
    *n = (nbi_nest){.cells = 1, .n = 1, .width = 1, .run = 1, .turns = 1};
    for (int i = rank - 1; i >= 0; i--) {
        if (dims[i] == 1)
            continue;
        nbi_loop *loops = folded[i] ? n->folded : n->kept;
        int *count = folded[i] ? &n->n_folded : &n->n_kept;
        int64_t *total = folded[i] ? &n->n : &n->cells;
        if (any && folded[i] == last)
            loops[*count - 1].size = times(loops[*count - 1].size, dims[i]);
        else
            loops[(*count)++] = (nbi_loop){dims[i], step};
        *total = times(*total, dims[i]);
        step = times(step, dims[i]);
        last = folded[i];
        any = true;
    }
    if (n->n_kept > 0)
        n->width = n->kept[0].size, n->across = n->kept[0].step;
    if (n->n_folded > 0)
        n->run = n->folded[0].size, n->along = n->folded[0].step;
    if (n->n == 0 || n->cells == 0)
        n->turns = 0;
    else if (n->n_folded > 1)
        n->turns = n->n / n->run;
    n->tile = NBI_TILE;
    if (n->along == 1 && n->width > 1 && n->n > ELEMENTS / NBI_TILE)
        n->tile = n->n > ELEMENTS ? 1 : ELEMENTS / n->n;
}

bool nbi_walk_next(nbi_walk *k)
{
    const nbi_nest *n = k->nest;
    k->cell += k->w;
    if (k->cell >= n->cells)
        return false;
    int64_t block = n->n_kept > 1 ? k->cell / n->width : 0, first = k->cell - block * n->width;
    k->w = (int)least(n->width - first, n->tile);
    k->at = place(n->kept, n->n_kept, block) + first * n->across;
    return true;
}

nbi_walk nbi_walk_single(const nbi_walk *k, int j)
{
    nbi_walk one = *k;
    one.cell += j;
    one.at += j * k->nest->across;
    one.w = 1;
    return one;
}

/* ---- sums ------------------------------------------------------------------------------------ */

typedef struct total {
    double *sum, *rest;
} total;

static inline void total_add(total s, double x)
{
    double t = *s.sum + x, b = t - *s.sum;
    *s.rest += (*s.sum - (t - b)) + (x - b);
    *s.sum = t;
}

static inline double total_value(double sum, double rest)
{
    return rest == rest ? sum + rest : sum;
}

static inline double lanes_sum(const double l[LANES])
{
    return ((l[0] + l[4]) + (l[1] + l[5])) + ((l[2] + l[6]) + (l[3] + l[7]));
}

/* ---- the loops ------------------------------------------------------------------------------- */

/* No iteration reads what another one wrote. */
#if defined(__clang__)
#define INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#elif defined(__GNUC__)
#define INDEPENDENT _Pragma("GCC ivdep")
#else
#define INDEPENDENT
#endif

#define JOINED(a, b, s) a##_##b##_##s
#define EXPAND(a, b, s) JOINED(a, b, s)
#define NAME(a, b)      EXPAND(a, b, S)

#define T               double
#define S               f64
#include "kernels/reduce.inc"
#undef T
#undef S

#define T float
#define S f32
#include "kernels/reduce.inc"
#undef T
#undef S

/* ---- the choice ------------------------------------------------------------------------------ */

typedef void (*fold_fn)(const nbi_walk *, const double *, const double *, double *);
typedef void (*spread_fn)(const nbi_walk *, const double *, const double *);

#define PAIR(kind, name)                         \
    {                                            \
        kind##_##name##_f64, kind##_##name##_f32 \
    }

static const fold_fn folds[NBI_FOLDS][2] = {
    [NBI_FOLD_SUM] = PAIR(fold, sum),         [NBI_FOLD_CENTRED] = PAIR(fold, centred),
    [NBI_FOLD_SQUARES] = PAIR(fold, squares), [NBI_FOLD_EQUAL] = PAIR(fold, equal),
    [NBI_FOLD_DOT] = PAIR(fold, dot),         [NBI_FOLD_EXP] = PAIR(fold, exp),
    [NBI_FOLD_PROD] = PAIR(fold, prod),       [NBI_FOLD_MAX] = PAIR(fold, max),
    [NBI_FOLD_MIN] = PAIR(fold, min),
};

static const spread_fn spreads[NBI_SPREADS][2] = {
    [NBI_SPREAD_LEVEL] = PAIR(spread, level),
    [NBI_SPREAD_SCALED] = PAIR(spread, scaled),
    [NBI_SPREAD_CENTRED] = PAIR(spread, centred),
    [NBI_SPREAD_RATIO] = PAIR(spread, ratio),
    [NBI_SPREAD_EQUAL] = PAIR(spread, equal),
    [NBI_SPREAD_ONLY] = PAIR(spread, only),
    [NBI_SPREAD_SHIFTED] = PAIR(spread, shifted),
    [NBI_SPREAD_EXP] = PAIR(spread, exp),
    [NBI_SPREAD_SOFTMAX] = PAIR(spread, softmax),
    [NBI_SPREAD_LOG_SOFTMAX] = PAIR(spread, log_softmax),
};

static const double nothing[NBI_TILE] = {0};

void nbi_fold(const nbi_walk *k, nbi_fold_kind kind, const double *p, const double *q,
              double *result)
{
    folds[kind][k->dtype](k, p ? p : nothing, q ? q : nothing, result);
}

void nbi_spread(const nbi_walk *k, nbi_spread_kind kind, const double *a, const double *p)
{
    spreads[kind][k->dtype](k, a ? a : nothing, p ? p : nothing);
}

void nbi_line_load(const nbi_walk *k, double *line)
{
    (k->dtype == NB_F64 ? line_load_f64 : line_load_f32)(k, line);
}

void nbi_line_store(const nbi_walk *k, const double *line)
{
    (k->dtype == NB_F64 ? line_store_f64 : line_store_f32)(k, line);
}

double nbi_scale_for(double m)
{
    int e = 0;
    if (!(m > 0) || isinf(m))
        return 1;
    frexp(m, &e);
    return ldexp(1, e > 1000 ? -1000 : e < -1000 ? 1000 : -e);
}

void nbi_get(nb_dtype dtype, const void *data, int64_t at, int64_t n, double *out)
{
    for (int64_t i = 0; i < n; i++)
        out[i] = dtype == NB_F64 ? ((const double *)data)[at + i]
                                 : (double)((const float *)data)[at + i];
}

void nbi_put(nb_dtype dtype, void *data, int64_t at, int64_t n, const double *in)
{
    for (int64_t i = 0; i < n; i++)
        if (dtype == NB_F64)
            ((double *)data)[at + i] = in[i];
        else
            ((float *)data)[at + i] = (float)in[i];
}
