/*
 * Pooling on bare arrays: over windows of each plane, the greatest element or the mean, and the
 * transposed maps.
 *
 *     window o of an axis covers the places i = o stride - pad + k, k below `window`, that lie in it
 *
 *     max          y[o] = the greatest x[i] of the window; NaN if one is
 *     max_place    dx[i] = sum over the windows of i of slope[o, i] g[o]
 *     max_pick     dy[o] = sum over the window of slope[o, i] v[i]
 *                  slope[o, i] = [x[i] = y[o]] / how many of the window are equal to y[o]
 *     mean         y[o] = sum over the window of x[i] / d[o]
 *     mean_place   dx[i] = sum over the windows of i of g[o] / d[o]
 *                  d[o] = how many places the window has, or how many of them inside
 *
 * The winners are found again by comparing x with y, which are both at hand: nothing is kept, and all
 * that tie are found. In a window with a NaN nothing equals y, so each slope is 0 / 0; where g is 0
 * nothing flows all the same. Sums over windows are taken in double.
 *
 * A plane is one channel of one image; the arrays hold `planes` of them, of which a call computes
 * [from, to). Every window covers a place: 0 <= pad < window, and out is at least 1.
 */
#ifndef NBI_KERNELS_POOL_H
#define NBI_KERNELS_POOL_H

#include "kernels/cpu.h"

#include <stddef.h>
#include <stdint.h>

typedef struct nbi_pool_axis {
    int64_t in, out, window, stride, pad;
} nbi_pool_axis;

typedef struct nbi_pool {
    int64_t planes;
    nbi_pool_axis axis[2]; /* 0 runs down, 1 across */
    bool count_padding;
} nbi_pool;

/* The arrays of a call; what a map does not name above may be NULL. `to` is its result. */
typedef struct nbi_pool_arrays {
    const void *x, *y; /* the pooled array and the greatest elements */
    const void *from;  /* g or v, and what is averaged */
    void *to;
    bool add; /* to what is there, instead of overwriting it */
} nbi_pool_arrays;

typedef enum nbi_pool_map {
    NBI_POOL_MAX,
    NBI_POOL_MAX_PLACE,
    NBI_POOL_MAX_PICK,
    NBI_POOL_MEAN,
    NBI_POOL_MEAN_PLACE
} nbi_pool_map;

typedef void (*nbi_pool_fn)(const nbi_pool *p, nbi_pool_map map, const nbi_pool_arrays *a,
                            int64_t from, int64_t to, void *scratch);

/* Elements behind a buffer that vectors may read and write. */
enum { NBI_POOL_SPARE = 32 };

/* How many rows of n elements are pooled at a time where windows tile. */
static inline int64_t nbi_pool_rows(int64_t n) { return n < 4096 ? 4096 / n : 1; }

/* Bytes of scratch, aligned for double, for one worker. Cannot overflow where the arrays exist. */
size_t nbi_pool_scratch(const nbi_pool *p);

nbi_pool_fn nbi_pool_choose(nbi_isa isa, bool is_double);

/* Index 0 float, 1 double; one pair per object. */
extern const nbi_pool_fn nbi_pool_plain[2];
extern const nbi_pool_fn nbi_pool_avx2[2];
extern const nbi_pool_fn nbi_pool_avx512[2];
extern const nbi_pool_fn nbi_pool_neon[2];

#endif
