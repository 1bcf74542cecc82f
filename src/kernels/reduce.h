/*
 * Walking over an array to fold elements into results, and to spread results back over elements.
 *
 * A reduction sorts the axes of a dense row-major array into those that are kept and those that are
 * folded. Neighbours of one kind merge, so that the kinds alternate; the two innermost groups make
 * a block, a matrix of `width` results by `run` elements of each, in one of two layouts:
 *
 *     the last axes are folded:  a result's elements lie side by side   (along 1, across run)
 *     the last axes are kept:    the results lie side by side           (across 1, along width)
 *
 * and everything else is a nest of loops around such blocks: kept loops move on to other results,
 * folded ones bring more elements of the same results. A walk visits the results tile by tile, at
 * most NBI_TILE of one block at a time, so that what is known of each result (its mean, its
 * maximum) sits in small arrays of doubles on the stack, and an operation is a few passes over a
 * tile:
 *
 *     nbi_fold     result[j] = sum, product, maximum … over the elements v of  term(v, p[j], q[j])
 *     nbi_spread   y[i] (+)= term(v, z, a[j], p[j])  for every element i of result j
 *
 * Sums are taken in double for either type: blocks of at most 512 terms plainly, the blocks' sums
 * with the rounding error of each addition carried along, so that the error does not grow with the
 * length. The order of every sum is fixed by the shape alone.
 *
 * So a crew may share the tiles; and where there are but few, a long run of a tile: its blocks' sums
 * are taken by whoever comes, and added up by one in their order.
 */
#ifndef NBI_KERNELS_REDUCE_H
#define NBI_KERNELS_REDUCE_H

#include "base/pool.h"
#include "kernels/vmath.h"

enum { NBI_TILE = 64, NBI_LOOPS = NB_MAX_RANK / 2 };

typedef struct nbi_loop {
    int64_t size, step;
} nbi_loop;

typedef struct nbi_nest {
    int64_t cells;         /* results */
    int64_t n;             /* elements per result */
    int64_t width, across; /* results of a block, and the distance from one to the next */
    int64_t run, along;    /* elements of a result in a block, and their distance */
    int64_t turns;         /* blocks of the same results */
    int64_t tile;          /* results to take at a time */
    int n_kept, n_folded;
    nbi_loop kept[NBI_LOOPS],
        folded[NBI_LOOPS]; /* innermost first; the first ones make the block */
} nbi_nest;

void nbi_nest_make(nbi_nest *n, int rank, const int64_t *dims, const bool *folded);

/* Where a walk stands. Set the first group, leave the second zero, call nbi_walk_next. */
typedef struct nbi_walk {
    const nbi_nest *nest;
    nb_dtype dtype;
    const void *x, *z;      /* two arrays of one shape; z may be x */
    void *y;                /* of that shape too: what nbi_spread writes; it may be x or z */
    bool add;               /* add to y */
    const nbi_vmath *vmath; /* for the kinds with e */
    const nbi_crew *crew;   /* who may share a long run, or NULL */
    int64_t stop;           /* the result to stop before; 0: none */

    int64_t cell; /* the tile's first result */
    int64_t at;   /* and that one's first element */
    int w;        /* results in the tile */
} nbi_walk;

bool nbi_walk_next(nbi_walk *k);
/* Calls f for every tile of k, on any thread of k's crew. */
typedef void nbi_tile_fn(void *context, const nbi_walk *tile);
void nbi_walk_tiles(nbi_walk *k, nbi_tile_fn *f, void *context);
/* The j-th result of the tile alone. */
nbi_walk nbi_walk_single(const nbi_walk *k, int j);
/* Elements [from, to) of each result, where they are one run; nest is for the part. */
nbi_walk nbi_walk_cut(const nbi_walk *k, nbi_nest *nest, int64_t from, int64_t to);

/* v of x, z of z; e = exp(z - p) */
typedef enum {
    NBI_FOLD_SUM,     /* v */
    NBI_FOLD_CENTRED, /* (v - p) q */
    NBI_FOLD_SQUARES, /* ((v - p) q)^2 */
    NBI_FOLD_EQUAL,   /* 1 where v = p */
    NBI_FOLD_DOT,     /* v z, 0 where either is 0 */
    NBI_FOLD_EXP,     /* e */
    NBI_FOLD_PROD,    /* the product of v; from here on, no sums */
    NBI_FOLD_MAX,     /* the greatest v, -inf if none; a NaN stays */
    NBI_FOLD_MIN,
    NBI_FOLDS
} nbi_fold_kind;

/* p and q hold w numbers, or are NULL where the kind has none. */
void nbi_fold(const nbi_walk *k, nbi_fold_kind kind, const double *p, const double *q,
              double *result);

/* "0 a" reads: 0 where a is 0 */
typedef enum {
    NBI_SPREAD_LEVEL,       /* a */
    NBI_SPREAD_SCALED,      /* v a */
    NBI_SPREAD_CENTRED,     /* a (v - p), 0 a */
    NBI_SPREAD_RATIO,       /* a (v / p), 0 a */
    NBI_SPREAD_EQUAL,       /* a where v = p, else 0 a */
    NBI_SPREAD_ONLY,        /* a where v = p, else -inf */
    NBI_SPREAD_SHIFTED,     /* v - p - a */
    NBI_SPREAD_EXP,         /* a e, 0 a */
    NBI_SPREAD_SOFTMAX,     /* z (v - a), 0 where z or v - a is 0 */
    NBI_SPREAD_LOG_SOFTMAX, /* v - a e, v where a is 0 */
    NBI_SPREADS
} nbi_spread_kind;

void nbi_spread(const nbi_walk *k, nbi_spread_kind kind, const double *a, const double *p);

/* The elements of the tile's first result, in order, as doubles, and back. */
void nbi_line_load(const nbi_walk *k, double *line);
void nbi_line_store(const nbi_walk *k, const double *line);

/* The power of two that scales numbers up to m near 1; 1 if m is 0, infinite or NaN. */
double nbi_scale_for(double m);

/* Elements [at, at + n) of an array as doubles, and back. */
void nbi_get(nb_dtype dtype, const void *data, int64_t at, int64_t n, double *out);
void nbi_put(nb_dtype dtype, void *data, int64_t at, int64_t n, const double *in);

#endif
