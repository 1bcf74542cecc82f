/*
 * What the three operations of convolution share: their geometry, checked, and the kernels applied.
 *
 * Each of conv, conv_transposed and conv_weight is one of the three maps of the trilinear form of
 * kernels/conv.h, and each one's derivatives are the other two.
 */
#ifndef NABLA_SRC_CONVOLUTION_H
#define NABLA_SRC_CONVOLUTION_H

#include "kernels/conv.h"
#include <nabla/image.h>
#include <nabla/op.h>

/* The state of a node. axes, o and taps are the caller's, with defaults filled in; the shape rule
 * makes the geometry. */
typedef struct nbi_conv_state {
    int axes; /* 1 or 2 */
    nb_conv_options o;
    int64_t taps[2]; /* of conv_weight's result; else unused */
    nbi_conv conv;
} nbi_conv_state;

/* options may be NULL. */
nbi_conv_state nbi_conv_start(int axes, const nb_conv_options *options);
nb_var nbi_conv_apply(const nb_op *op, nb_var a, nb_var b, nb_var bias, const nbi_conv_state *s);

/* Whether the options make sense and operand k, called by that name, has the rank of the state.
 * false after a refusal, as below. */
bool nbi_conv_begin(const nb_call *c, const char *second);
/* The geometry from the shapes of x and w, or from those of the result y and w: fills s->conv. */
bool nbi_conv_forward_shape(const nb_call *c, const int64_t *x, const int64_t *w);
bool nbi_conv_back_shape(const nb_call *c, const int64_t *y, const int64_t *w);
/* Whether the bias, operand 2 if there is one, fits so many channels. */
bool nbi_conv_bias(const nb_call *c, int64_t channels);
/* [images channels …], with the sizes that axes have on one side. */
nb_shape nbi_conv_shape(const nbi_conv_state *s, bool y);

/* The three maps and the sum over everything but the channels. False when there is no memory. */
bool nbi_conv_forward(const nb_call *c, const nb_array *x, const nb_array *w, const nb_array *bias,
                      const nb_array *y, bool add);
bool nbi_conv_back(const nb_call *c, const nb_array *y, const nb_array *w, const nb_array *bias,
                   const nb_array *x, bool add);
bool nbi_conv_weight(const nb_call *c, const nb_array *x, const nb_array *y, const nb_array *w,
                     bool add);
void nbi_conv_channel_sums(const nb_call *c, const nb_array *y, const nb_array *sums, bool add);

/* The maps as graph. extra_of: what output padding leads back to a size. */
nb_var nbi_conv_graph(nb_var x, nb_var w, const nbi_conv_state *s);
nb_var nbi_conv_transposed_graph(nb_var y, nb_var w, const nbi_conv_state *s);
nb_var nbi_conv_weight_graph(nb_var x, nb_var y, const nbi_conv_state *s);
/* An adjoint summed to that of the bias. */
nb_var nbi_conv_bias_graph(nb_var g, const nbi_conv_state *s);

#endif
