/*
 * nabla/image.h: convolution and pooling, over one axis (signals) or two (images).
 *
 * Arrays are laid out batch, channels, then the axes:
 *
 *     nb_var y = nb_conv2d(x, w, b, &(nb_conv_options){.padding = {1, 1}});
 *     nb_var z = nb_max_pool2d(nb_relu(y), 2, 2, NULL);
 *
 *     x [n ci h v],  w [co ci/groups kh kv],  b [co] or NB_NONE        y [n co …]
 *
 * Options may be NULL, and each field may be left 0: then it has the default that stands beside it.
 * Where an option has two entries the first is for the axis h (rows), the second for v (columns); the
 * functions of one axis read the first only.
 *
 * Convolution is what neural networks mean by it: taps are not flipped. Every function
 * differentiates to any order, in all operands.
 */
#ifndef NABLA_IMAGE_H
#define NABLA_IMAGE_H

#include <nabla/op.h>
#include <nabla/ops.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- convolution ----------------------------------------------------------------------------- */

typedef struct nb_conv_options {
    int64_t stride[2];   /* between neighbouring results; 0: 1 */
    int64_t padding[2];  /* zeros before and after an axis */
    int64_t dilation[2]; /* between neighbouring taps; 0: 1 */
    int64_t groups;      /* channels fall into so many groups, each by itself; 0: 1 */
    /* Of a transposed convolution: elements more at the end of an axis, below the stride. A
     * convolution takes this many sizes to one; this tells which to come back to. */
    int64_t output_padding[2];
} nb_conv_options;

/* y[n, m, o] = b[m] + sum over c, k of w[m, c, k] x[n, c, o stride - padding + k dilation]. An axis of
 * size s becomes (s + 2 padding - dilation (k - 1) - 1) / stride + 1, rounded down. */
NB_API nb_var nb_conv1d(nb_var x, nb_var w, nb_var b, const nb_conv_options *options);
NB_API nb_var nb_conv2d(nb_var x, nb_var w, nb_var b, const nb_conv_options *options);

/* The transpose of nb_conv with the same w and options, as a linear map of its x: w is
 * [ci co/groups …], and an axis of size s becomes
 * (s - 1) stride - 2 padding + dilation (k - 1) + 1 + output_padding. */
NB_API nb_var nb_conv_transposed1d(nb_var x, nb_var w, nb_var b, const nb_conv_options *options);
NB_API nb_var nb_conv_transposed2d(nb_var x, nb_var w, nb_var b, const nb_conv_options *options);

/* ---- pooling --------------------------------------------------------------------------------- */

typedef struct nb_pool_options {
    int64_t stride[2];  /* between neighbouring windows; 0: the window's size, so that they tile */
    int64_t padding[2]; /* places before and after an axis, fewer than the window has */
    bool count_padding; /* of an average: divide by all places of the window, padding included;
                         * otherwise by those that lie inside x */
} nb_pool_options;

/* The greatest element in each window; padding never is. Elements that tie share the gradient
 * equally, and a NaN in a window is its result. An axis of size s becomes
 * (s + 2 padding - window) / stride + 1, rounded down. */
NB_API nb_var nb_max_pool1d(nb_var x, int64_t window, const nb_pool_options *options);
NB_API nb_var nb_max_pool2d(nb_var x, int64_t rows, int64_t columns,
                            const nb_pool_options *options);

/* The mean of each window. */
NB_API nb_var nb_average_pool1d(nb_var x, int64_t window, const nb_pool_options *options);
NB_API nb_var nb_average_pool2d(nb_var x, int64_t rows, int64_t columns,
                                const nb_pool_options *options);

/* Over all places of each channel: x [n c …] to [n c]. */
NB_API nb_var nb_global_max_pool(nb_var x);
NB_API nb_var nb_global_average_pool(nb_var x);

#ifdef __cplusplus
}
#endif

/* Under NB_LOCATE errors tell the place of the call; see nabla/ops.h. */
#define nb_conv1d(x, ...)            (nb_conv1d)(NBI_FIRST(x), __VA_ARGS__)
#define nb_conv2d(x, ...)            (nb_conv2d)(NBI_FIRST(x), __VA_ARGS__)
#define nb_conv_transposed1d(x, ...) (nb_conv_transposed1d)(NBI_FIRST(x), __VA_ARGS__)
#define nb_conv_transposed2d(x, ...) (nb_conv_transposed2d)(NBI_FIRST(x), __VA_ARGS__)
#define nb_max_pool1d(x, ...)        (nb_max_pool1d)(NBI_FIRST(x), __VA_ARGS__)
#define nb_max_pool2d(x, ...)        (nb_max_pool2d)(NBI_FIRST(x), __VA_ARGS__)
#define nb_average_pool1d(x, ...)    (nb_average_pool1d)(NBI_FIRST(x), __VA_ARGS__)
#define nb_average_pool2d(x, ...)    (nb_average_pool2d)(NBI_FIRST(x), __VA_ARGS__)
#define nb_global_max_pool(x)        (nb_global_max_pool)(NBI_FIRST(x))
#define nb_global_average_pool(x)    (nb_global_average_pool)(NBI_FIRST(x))

#endif
