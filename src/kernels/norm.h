/*
 * Normalising: each cell of an array to mean 0 and mean square 1, then an affine map per channel.
 *
 *     xhat = (x scale - mean) rate        y = xhat gain + bias        rate = 1 / sqrt(v + eps scale^2)
 *
 * with mean and v the mean and variance of x scale over the cell. The array is seen as
 * [outer][channels][inner], and a cell is either
 *
 *     a line      one index of the outer axis, its elements side by side   (layer, RMS, group norm)
 *     a column    one channel, its elements spread over the array          (batch norm)
 *
 * Lines may come in groups, each with channels of its own: line a takes the gains from channel
 * (a mod groups) channels on.
 *
 * Two passes, the mean first, then the deviations from it, their squares corrected by the square of
 * their sum (which is 0 but for the rounding of the mean). The scale is 1 unless v + eps leaves the
 * range in which nothing is lost to overflow or underflow; then it is a power of two that brings the
 * greatest element near 1, so a line of +-1e200 becomes +-1. A cell without spread and without eps
 * has rate 0: its xhat is 0, and so is its gradient.
 *
 * With h = g gain, the adjoint of xhat, and means over the cell's n elements:
 *
 *     dx = scale rate (h - mean(h) - xhat mean(h xhat))
 *
 * because xhat depends on x directly, through the mean (whence mean(h), absent if not centred) and
 * through the rate (whence the last term). Where the statistics are given only the first is there.
 *
 * All loops run over pieces of at most NBI_PIECE elements in which the cell and the channel either
 * stay or move along with the element. Sums are taken in doubles, one per place in a piece, so their
 * order depends on the shape alone.
 */
#ifndef NABLA_SRC_NORM_H
#define NABLA_SRC_NORM_H

#include <nabla/base.h>
#include "kernels/cpu.h"

enum { NBI_PIECE = 64 };

typedef struct nbi_norm {
    int64_t outer, groups, channels, inner;
    bool columns; /* a cell is a channel, else a line */
    bool centred; /* the mean is subtracted */
    bool given;   /* the statistics do not depend on x */
    double eps;
    double *mean, *scale, *rate; /* per cell */
    double *variance;            /* of x scale, per cell; NULL if nobody asks */
} nbi_norm;

int64_t nbi_norm_cells(const nbi_norm *s);
int64_t nbi_norm_size(const nbi_norm *s); /* elements of a cell */

/* Arrays of x's type; gain and bias hold groups * channels elements or are NULL. Each function does
 * the part [from, to): of the cells, or of the channels of all groups. A result does not depend on
 * where the parts are cut. */
typedef struct nbi_norm_pass {
    const nbi_norm *s;
    nb_dtype dtype;
    nbi_isa isa;
    const void *x, *gain, *bias, *g;
    void *y;               /* the result, or the adjoint of x */
    void *d_gain, *d_bias; /* NULL where not wanted */
    bool add, add_gain, add_bias;
} nbi_norm_pass;

void nbi_norm_moments(const nbi_norm_pass *p, int64_t from, int64_t to); /* fills s's columns */
void nbi_norm_forward(const nbi_norm_pass *p, int64_t from, int64_t to);
void nbi_norm_reverse(const nbi_norm_pass *p, int64_t from, int64_t to);
void nbi_norm_reverse_channels(const nbi_norm_pass *p, int64_t from, int64_t to);

/* ---- the loops over a piece, per instruction set and type ------------------------------------ */

/* What each element of a piece meets. */
typedef struct nbi_norm_place {
    double scale[NBI_PIECE], mean[NBI_PIECE], rate[NBI_PIECE], gain[NBI_PIECE], bias[NBI_PIECE];
} nbi_norm_place;

typedef struct nbi_norm_kernel {
    /* a += x scale - mean, b += its square */
    void (*moments)(int n, const void *x, const nbi_norm_place *c, double *a, double *b);
    void (*apply)(int n, const void *x, const nbi_norm_place *c, void *y);
    /* a += h, b += h xhat, where h = g gain; 0 contributes 0 */
    void (*dots)(int n, const void *x, const void *g, const nbi_norm_place *c, double *a,
                 double *b);
    /* to (+)= rate scale (h - a - xhat b), where 0 times anything is 0 */
    void (*back)(int n, const void *x, const void *g, const nbi_norm_place *c, const double *a,
                 const double *b, void *to, bool add);
} nbi_norm_kernel;

/* By element type (nb_dtype). Sets agree bitwise. */
extern const nbi_norm_kernel nbi_norm_plain[2];
extern const nbi_norm_kernel nbi_norm_avx2[2];
extern const nbi_norm_kernel nbi_norm_avx512[2];

#endif
