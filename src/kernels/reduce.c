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

enum { LANES = 8, CHUNK = 512, LONG = 64, ELEMENTS = 4096, PARTS = 4096 };
enum { GRAIN = 1 << 15 }; /* elements worth handing out: 10 to 40 us */

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
    if (k->cell >= (k->stop ? k->stop : n->cells))
        return false;
    int64_t block = n->n_kept > 1 ? k->cell / n->width : 0, first = k->cell - block * n->width;
    k->w = (int)least(n->width - first, n->tile);
    k->at = place(n->kept, n->n_kept, block) + first * n->across;
    return true;
}

/* ---- sharing tiles --------------------------------------------------------------------------- */

typedef struct tiles {
    const nbi_walk *walk;
    nbi_tile_fn *f;
    void *context;
} tiles;

static int64_t tiles_of_block(const nbi_nest *n) { return (n->width + n->tile - 1) / n->tile; }

/* The first result of a tile. */
static int64_t first_of(const nbi_nest *n, int64_t tile)
{
    const int64_t each = tiles_of_block(n);
    return tile / each * n->width + tile % each * n->tile;
}

static void run_tiles(void *context, int64_t from, int64_t to, int worker)
{
    const tiles *t = context;
    nbi_walk k = *t->walk;
    (void)worker;
    k.crew = NULL;
    k.cell = first_of(k.nest, from);
    k.stop = first_of(k.nest, to);
    while (nbi_walk_next(&k))
        t->f(t->context, &k);
}

/* Whether it was done by many. */
static bool share_tiles(nbi_walk *k, nbi_tile_fn *f, void *context)
{
    const nbi_nest *n = k->nest;
    if (k->cell != 0 || n->cells < 2)
        return false;
    const int64_t count = n->cells / n->width * tiles_of_block(n);
    const int64_t size = times(n->tile, n->n), grain = size < GRAIN ? GRAIN / (size + 1) + 1 : 1;
    if (!nbi_crew_shares(k->crew, count, grain))
        return false;
    nbi_crew_share(k->crew, count, grain, run_tiles, &(tiles){k, f, context});
    return true;
}

void nbi_walk_tiles(nbi_walk *k, nbi_tile_fn *f, void *context)
{
    if (k->crew && !k->crew->pool)
        k->crew = NULL;
    if (k->crew && share_tiles(k, f, context))
        return;
    while (nbi_walk_next(k))
        f(context, k);
}

nbi_walk nbi_walk_single(const nbi_walk *k, int j)
{
    nbi_walk one = *k;
    one.cell += j;
    one.at += j * k->nest->across;
    one.w = 1;
    return one;
}

nbi_walk nbi_walk_cut(const nbi_walk *k, nbi_nest *nest, int64_t from, int64_t to)
{
    nbi_walk part = *k;
    *nest = *k->nest;
    nest->run = nest->n = to - from;
    part.nest = nest;
    part.at += from * nest->along;
    return part;
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

/* ---- sharing a run --------------------------------------------------------------------------- */

/* A tile whose run is cut where its sums are cut anyway: every `length` elements of each result. */
typedef struct long_run {
    const nbi_walk *walk;
    fold_fn fold;
    spread_fn spread;
    const double *p, *q;
    int64_t length, first; /* of a chunk; the first chunk of those under way */
    double *part;          /* their sums, w each */
} long_run;

static void fold_chunks(void *context, int64_t from, int64_t to, int worker)
{
    const long_run *r = context;
    const int64_t run = r->walk->nest->run;
    nbi_nest nest;
    (void)worker;
    for (int64_t i = from; i < to; i++) {
        const int64_t at = (r->first + i) * r->length;
        nbi_walk k = nbi_walk_cut(r->walk, &nest, at, least(at + r->length, run));
        r->fold(&k, r->p, r->q, r->part + i * k.w);
    }
}

static void spread_chunks(void *context, int64_t from, int64_t to, int worker)
{
    const long_run *r = context;
    nbi_nest nest;
    (void)worker;
    nbi_walk k =
        nbi_walk_cut(r->walk, &nest, from * r->length, least(to * r->length, r->walk->nest->run));
    r->spread(&k, r->p, r->q);
}

/* The length of a chunk if there are enough of them to share, else 0. */
static int64_t chunk_length(const nbi_walk *k)
{
    const nbi_nest *n = k->nest;
    if (n->turns != 1 || (n->along == 1 && k->w > 1))
        return 0;
    const int64_t length = CHUNK / k->w;
    return nbi_crew_shares(k->crew, n->run / length, GRAIN / CHUNK) ? length : 0;
}

/* Sums of the chunks, as many at a time as there is room for, then the sum of those. */
static void fold_long(long_run r, double *result)
{
    double part[PARTS], rest[NBI_TILE];
    const int w = r.walk->w;
    const int64_t chunks = (r.walk->nest->run + r.length - 1) / r.length;
    r.part = part;
    for (int j = 0; j < w; j++)
        result[j] = rest[j] = 0;
    for (int64_t n; r.first < chunks; r.first += n) {
        n = least(chunks - r.first, PARTS / w);
        nbi_crew_share(r.walk->crew, n, GRAIN / CHUNK, fold_chunks, &r);
        for (int64_t i = 0; i < n; i++)
            for (int j = 0; j < w; j++)
                total_add((total){result + j, rest + j}, part[i * w + j]);
    }
    for (int j = 0; j < w; j++)
        result[j] = total_value(result[j], rest[j]);
}

void nbi_fold(const nbi_walk *k, nbi_fold_kind kind, const double *p, const double *q,
              double *result)
{
    const fold_fn fold = folds[kind][k->dtype];
    const int64_t length = k->crew && kind < NBI_FOLD_PROD ? chunk_length(k) : 0;
    p = p ? p : nothing;
    q = q ? q : nothing;
    if (length)
        fold_long((long_run){.walk = k, .fold = fold, .p = p, .q = q, .length = length}, result);
    else
        fold(k, p, q, result);
}

void nbi_spread(const nbi_walk *k, nbi_spread_kind kind, const double *a, const double *p)
{
    const spread_fn spread = spreads[kind][k->dtype];
    const int64_t length = k->crew ? chunk_length(k) : 0;
    a = a ? a : nothing;
    p = p ? p : nothing;
    if (length)
        nbi_crew_share(k->crew, (k->nest->run + length - 1) / length, GRAIN / CHUNK, spread_chunks,
                       &(long_run){.walk = k, .spread = spread, .p = a, .q = p, .length = length});
    else
        spread(k, a, p);
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
