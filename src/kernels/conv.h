/*
 * Convolution on bare arrays, and the two maps that are its derivatives.
 *
 * All three come from one trilinear form. With i = o stride - pad + k dilation along each axis,
 *
 *     T(x, w, y)  =  sum over images, output channels m, input channels c, places o and taps k of
 *                    x[c, i] w[m, c, k] y[m, o]                        where i lies inside x
 *
 *     forward     y[m, o]    = sum over c, k of  w[m, c, k] x[c, i]
 *     back        x[c, i]    = sum over m, k of  w[m, c, k] y[m, o]    the transposed convolution
 *     weight      w[m, c, k] = sum over images and o of  x[c, i] y[m, o]
 *
 * Arrays are dense: x [images groups*c in in], w [groups*m c taps taps], y [images groups*m out out].
 *
 * One plan serves all. Copy an image into a plane with zeros around it, cut into stride x stride
 * phases (column j of phase r is column j stride + r), and every tap is the same picture shifted:
 *
 *     result[m, q] = sum over p of a[m, p] plane[offset[p] + q],    q = row * width + column
 *
 * where p runs over channels and taps. That is a matrix product whose right side is never built:
 * vectors run along q across the ends of rows, and what is computed between two rows is dropped.
 * The zeros between two rows are shared by both. An image that needs neither zeros nor phases is not
 * copied at all. Back is the same with the image y and the taps of one phase of x at a time (a
 * "pass"); weight takes the dot products of y's rows with the shifted pictures.
 *
 * Sums over p run in ascending order in blocks of 256, the blocks added in order. A weight's sum
 * runs in lanes over at most 4 KB of places, those sums in double in the order of the images. What is
 * computed for an output does not depend on how the work is divided.
 */
#ifndef NBI_KERNELS_CONV_H
#define NBI_KERNELS_CONV_H

#include "kernels/cpu.h"

#include <stddef.h>
#include <stdint.h>

typedef struct nbi_conv_axis {
    int64_t in, out, taps, stride, pad, dilation;
} nbi_conv_axis;

/* Channels are counted per group. Axis 0 runs down, axis 1 across. */
typedef struct nbi_conv {
    int64_t images, groups, c, m;
    nbi_conv_axis axis[2];
} nbi_conv;

/* Results at first + j step of the destination along each axis, for j below count. */
typedef struct nbi_pass {
    int64_t first[2], count[2];
    int64_t k;     /* terms of each sum */
    int64_t start; /* its offsets begin there; its weights m times there */
} nbi_pass;

typedef struct nbi_slide {
    int64_t images, groups;
    int64_t c, m;                       /* channels per group: of the image, of the result */
    int64_t size[2], lead[2], split[2]; /* the image: elements, zeros before them, phases */
    int64_t to[2], step[2];             /* the result: elements, steps of a pass */
    int64_t width;                      /* of a plane */
    int64_t band[2], bands[2];          /* results of a pass at a time, and how many times */
    int64_t halo[2];                    /* places of the image beyond those of the result */
    int64_t plane;                      /* elements of one phase of one channel */
    int64_t most;                       /* q of a band, over all passes */
    int64_t k, passes;                  /* terms over all passes */
    bool direct;                        /* the image is read where it lies */
    nbi_pass *pass;
    int64_t *offset, *place; /* per term; place: that of its weight, from a result channel's first */
    const nbi_conv *conv;
} nbi_slide;

/* Fills in everything but the lists, which need room for s->passes and s->k entries; false if a size
 * overflows. back: a plan for the transposed map. */
bool nbi_slide_plan(nbi_slide *s, const nbi_conv *conv, bool back, size_t element);
/* Fills the lists. */
void nbi_slide_lists(nbi_slide *s, bool back);
/* Weights in the order in which a back plan's passes read them; packed has as many elements as w. */
void nbi_slide_pack(const nbi_slide *s, size_t element, const void *w, void *packed);

/* What the kernels agree on with those who give them scratch. */
enum {
    NBI_CONV_LANES = 16,  /* at most so many elements in a vector */
    NBI_CONV_ROWS = 8,    /* at most so many rows in a tile */
    NBI_CONV_CHUNK = 32,  /* output channels whose weight gradient is computed at a time */
    NBI_CONV_BAND = 4096, /* bytes of a channel of the result at a time, unless a row has more */
};

/* n elements, rounded up so that what follows is aligned. */
static inline int64_t nbi_conv_round(int64_t n)
{
    return (n + NBI_CONV_LANES - 1) / NBI_CONV_LANES * NBI_CONV_LANES;
}

/* One precision of one instruction set. A worker's scratch is 64-byte aligned. */
typedef struct nbi_conv_kernel {
    /* Items [from, to) of images x groups x bands. a: the weights, packed for a back plan. bias, one
     * number per channel of the result, may be NULL. */
    void (*slide)(const nbi_slide *s, const void *image, const void *a, const void *bias,
                  void *result, bool add, int64_t from, int64_t to, void *scratch);
    /* Output channels [from, to) of groups x m, by a forward plan. */
    void (*weight)(const nbi_slide *s, const void *x, const void *y, void *w, bool add,
                   int64_t from, int64_t to, void *scratch);
    /* sums[j] = or += the sum over images and places of channel j, for j in [from, to). */
    void (*channel_sums)(int64_t images, int64_t channels, int64_t places, const void *y,
                         void *sums, bool add, int64_t from, int64_t to);
} nbi_conv_kernel;

/* Bytes of scratch for one worker; 0 if that overflows. */
size_t nbi_slide_scratch(const nbi_slide *s, size_t element);
size_t nbi_weight_scratch(const nbi_slide *s, size_t element);

const nbi_conv_kernel *nbi_conv_choose(nbi_isa isa, bool is_double);

/* Index 0 float, 1 double; one pair per object. */
extern const nbi_conv_kernel nbi_conv_plain[2];
extern const nbi_conv_kernel nbi_conv_avx2[2];
extern const nbi_conv_kernel nbi_conv_avx512[2];
extern const nbi_conv_kernel nbi_conv_neon[2];

/* Elements of an image's planes, with some behind them that vectors may read. */
static inline int64_t nbi_slide_planes(const nbi_slide *s)
{
    int64_t n = s->c * s->split[0] * s->split[1] * s->plane + s->width + NBI_CONV_LANES;
    return s->direct ? 0 : nbi_conv_round(n);
}

/* How many images the weight gradient takes at a time. */
static inline int64_t nbi_weight_images(const nbi_slide *s, size_t element)
{
    int64_t fit = NBI_CONV_BAND / (int64_t)element / nbi_conv_round(s->most);
    fit = fit < s->images ? fit : s->images;
    return s->bands[0] * s->bands[1] > 1 || fit < 1 ? 1 : fit;
}

#endif
