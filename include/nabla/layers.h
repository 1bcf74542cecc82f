/*
 * nabla/layers.h: layers.
 *
 *     nb_linear_layer l = nb_linear_new(p, "hidden", 64, 32, NULL, &r);     once: adds "hidden.w", "hidden.b"
 *     nb_var y = nb_linear_apply(&l, &m, x, nb_relu);                      in each pass m
 *
 * A layer is a small struct of parameter indices and sizes, whose fields are anyone's to read: copy it
 * and both copies share the parameters. Applying it is a function over vars, made of public operations
 * alone. What it does beyond that (dropout, batch norm) follows the pass: see nb_pass.
 *
 * An error while a layer is made stays on the parameters and names it; one while it is applied stays on
 * the tape, and names the parameters, "hidden.w", with all shapes. f is any function of a var, such as
 * nb_tanh; NULL is none. Options may be NULL, and each field 0: then it has the default beside it.
 */
#ifndef NABLA_LAYERS_H
#define NABLA_LAYERS_H

#include <nabla/image.h>
#include <nabla/net.h>
#include <nabla/params.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef nb_var (*nb_activation)(nb_var);

typedef struct nb_layer_options {
    nb_init weight; /* each layer says its default */
    nb_init bias;   /* zeros */
    bool no_bias;
} nb_layer_options;

/* ---- dense ----------------------------------------------------------------------------------- */

/* f(x w + b): x [... in], w [in out] (Glorot, uniform), b [out]. With nb_step for f it is Rosenblatt's
 * perceptron. */
typedef struct nb_linear_layer {
    nb_param w, b;
} nb_linear_layer;

NB_API nb_linear_layer nb_linear_new(nb_params *p, const char *name, int64_t in, int64_t out,
                                     const nb_layer_options *o, nb_rng *r);
NB_API nb_var nb_linear_apply(const nb_linear_layer *l, const nb_pass *m, nb_var x,
                              nb_activation f);
/* DropConnect: the same with each weight dropped with that probability, where the pass drops. */
NB_API nb_var nb_drop_connect_apply(const nb_linear_layer *l, const nb_pass *m, nb_var x,
                                    nb_activation f, double probability);

/* y[... k] = sum over i, j of x[... i] w[i k j] z[... j] + b[k], w [in_x out in_z] (normal, deviation
 * 1 / sqrt(in_x in_z)). */
typedef struct nb_bilinear_layer {
    nb_param w, b;
} nb_bilinear_layer;

NB_API nb_bilinear_layer nb_bilinear_new(nb_params *p, const char *name, int64_t in_x, int64_t in_z,
                                         int64_t out, const nb_layer_options *o, nb_rng *r);
NB_API nb_var nb_bilinear_apply(const nb_bilinear_layer *l, const nb_pass *m, nb_var x, nb_var z);

/* Rows of a table [rows width] (normal, deviation 1 / sqrt(width)) for indices of any shape. */
typedef struct nb_embedding_layer {
    nb_param table;
} nb_embedding_layer;

NB_API nb_embedding_layer nb_embedding_new(nb_params *p, const char *name, int64_t rows,
                                           int64_t width, const nb_layer_options *o, nb_rng *r);
NB_API nb_var nb_embedding_apply(const nb_embedding_layer *l, const nb_pass *m, nb_shape shape,
                                 const int64_t *index);

/* The greatest of `pieces` linear maps, for each of out units: w [in pieces out side by side]. */
typedef struct nb_maxout_layer {
    nb_linear_layer maps;
    int64_t pieces;
} nb_maxout_layer;

NB_API nb_maxout_layer nb_maxout_new(nb_params *p, const char *name, int64_t in, int64_t out,
                                     int64_t pieces, const nb_layer_options *o, nb_rng *r);
NB_API nb_var nb_maxout_apply(const nb_maxout_layer *l, const nb_pass *m, nb_var x);

/* Linear layers one after another: sizes[0] inputs, …, sizes[count - 1] outputs. */
typedef struct nb_mlp_options {
    nb_activation f;    /* between layers; nb_relu */
    nb_activation last; /* after the last layer; none */
    double dropout;     /* between layers */
    nb_init weight;     /* He's normal if f is nb_relu, else Glorot's uniform */
} nb_mlp_options;

typedef struct nb_mlp {
    nb_param first; /* layer k has the weights first + 2 k and the bias after it */
    int layers;
    nb_mlp_options options;
} nb_mlp;

NB_API nb_mlp nb_mlp_new(nb_params *p, const char *name, int count, const int64_t *sizes,
                         const nb_mlp_options *o, nb_rng *r);
NB_API nb_var nb_mlp_apply(const nb_mlp *l, const nb_pass *m, nb_var x);

/* Tied weights: layer k encodes by f(x w + b) and decodes by f(h w' + c), with the same w [sizes[k]
 * sizes[k + 1]] (Glorot, uniform), whose gradient is the sum of both uses. */
typedef struct nb_autoencoder {
    nb_param first; /* layer k has w at first + 3 k, then b and c */
    int layers;
    nb_activation f;    /* nb_sigmoid if none was given */
    nb_activation last; /* after the last step of decoding; none */
} nb_autoencoder;

NB_API nb_autoencoder nb_autoencoder_new(nb_params *p, const char *name, int count,
                                         const int64_t *sizes, nb_activation f, nb_activation last,
                                         nb_rng *r);
NB_API nb_var nb_autoencoder_encode(const nb_autoencoder *l, const nb_pass *m, nb_var x);
NB_API nb_var nb_autoencoder_decode(const nb_autoencoder *l, const nb_pass *m, nb_var h);

/* x + y, for equal shapes only: what a block adds to what it was given. */
NB_API nb_var nb_residual(nb_var x, nb_var y);

/* ---- normalising and dropping ---------------------------------------------------------------- */

/* nb_batch_norm of x [n channels ...], with its running statistics kept among the parameters as
 * "name.mean" and "name.variance". A training pass takes those of the batch. */
typedef struct nb_batch_norm_layer {
    nb_param gain, bias; /* ones, zeros */
    int64_t channels;
    int64_t mean, variance; /* where they begin in nb_params_statistics */
    double eps;             /* 1e-5 */
    double momentum;        /* 0.1 */
} nb_batch_norm_layer;

NB_API nb_batch_norm_layer nb_batch_norm_new(nb_params *p, const char *name, int64_t channels);
NB_API nb_var nb_batch_norm_apply(const nb_batch_norm_layer *l, const nb_pass *m, nb_var x);

/* nb_layer_norm or nb_rms_norm (which has no bias) over the last axes, which have that shape. */
typedef struct nb_norm_layer {
    nb_param gain, bias; /* ones, zeros */
    int last;            /* axes */
    bool rms;
    double eps; /* 1e-5 */
} nb_norm_layer;

NB_API nb_norm_layer nb_layer_norm_new(nb_params *p, const char *name, nb_shape shape);
NB_API nb_norm_layer nb_rms_norm_new(nb_params *p, const char *name, nb_shape shape);
NB_API nb_var nb_norm_apply(const nb_norm_layer *l, const nb_pass *m, nb_var x);

/* nb_dropout where the pass drops, else x. */
NB_API nb_var nb_dropout_apply(const nb_pass *m, nb_var x, double probability);

/* Monte-Carlo dropout: `passes` values of model(context, pass, x), dropping though this is no training,
 * and their mean and standard deviation (divided by passes - 1), element by element, n of them. m is an
 * evaluation pass on x's tape, whose rng r is. Nothing is left on the tape. */
NB_API nb_code nb_monte_carlo(const nb_pass *m, nb_rng *r, int passes,
                              nb_var (*model)(void *context, const nb_pass *m, nb_var x),
                              void *context, nb_var x, int64_t n, double *mean, double *spread);

/* ---- images and signals ---------------------------------------------------------------------- */

/* nb_conv1d or nb_conv2d, by the number of axes: w [out in/groups kernel…] (He, normal), b [out]. */
typedef struct nb_conv_layer {
    nb_param w, b;
    int axes; /* 1 or 2 */
    nb_conv_options options;
} nb_conv_layer;

NB_API nb_conv_layer nb_conv_new(nb_params *p, const char *name, int axes, int64_t in, int64_t out,
                                 const int64_t *kernel, const nb_conv_options *conv,
                                 const nb_layer_options *o, nb_rng *r);
NB_API nb_var nb_conv_apply(const nb_conv_layer *l, const nb_pass *m, nb_var x);

typedef enum nb_pooling { NB_POOL_NONE, NB_POOL_MAX, NB_POOL_AVERAGE } nb_pooling;

/* Convolution, batch norm if asked, f, pooling if asked. */
typedef struct nb_conv_block_options {
    nb_conv_options conv;
    nb_init weight;
    bool batch_norm; /* the convolution then has no bias: the norm would take it away */
    nb_activation f; /* nb_relu */
    nb_pooling pooling;
    int64_t window[2]; /* 2 */
    nb_pool_options pool;
} nb_conv_block_options;

typedef struct nb_conv_block {
    nb_conv_layer conv;
    nb_batch_norm_layer norm;
    nb_conv_block_options options;
} nb_conv_block;

NB_API nb_conv_block nb_conv_block_new(nb_params *p, const char *name, int axes, int64_t in,
                                       int64_t out, const int64_t *kernel,
                                       const nb_conv_block_options *o, nb_rng *r);
NB_API nb_var nb_conv_block_apply(const nb_conv_block *l, const nb_pass *m, nb_var x);

/* ---- recurrence ------------------------------------------------------------------------------ */

/* Over sequences x [steps n in], from h0 [n u] or NB_NONE for zeros; all h, [steps n u].
 *     h = f(x w_x + b + h_before w_h)                    w_x [in u], w_h [u u], b [u]; NULL: nb_tanh */
NB_API nb_var nb_rnn(nb_var x, nb_var w_x, nb_var w_h, nb_var b, nb_var h0, nb_activation f);
/* The gated recurrent unit, three gates of u side by side: r, z, n; w_x [in 3u], w_h [u 3u], b [3u],
 * b_n [u].
 *     r, z = sigmoid(x w_x + b + h_before w_h),  n = tanh(x w_x + b + r (h_before w_h + b_n))
 *     h = (1 - z) n + z h_before */
NB_API nb_var nb_gru(nb_var x, nb_var w_x, nb_var w_h, nb_var b, nb_var b_n, nb_var h0);

typedef enum nb_cell { NB_CELL_RNN, NB_CELL_LSTM, NB_CELL_GRU } nb_cell;

typedef struct nb_recurrent_options {
    int layers;         /* one upon another; 1 */
    bool bidirectional; /* each layer twice, forwards and backwards, side by side */
    double dropout;     /* between layers */
    nb_activation f;    /* of NB_CELL_RNN; nb_tanh */
    nb_init weight;     /* of w_x, each gate by itself; Glorot, uniform */
    nb_init recurrent;  /* of w_h, each gate by itself; orthogonal */
} nb_recurrent_options;

/* Biases are 0, but 1 in an LSTM's forget gate. */
typedef struct nb_recurrent_layer {
    nb_cell cell;
    nb_param first; /* layer by layer, forwards then backwards: w_x, w_h, b, and b_n of a GRU */
    int64_t in, units;
    nb_recurrent_options options;
} nb_recurrent_layer;

/* h, and c of an LSTM: [layers times directions, n, units]; zeroed vars or NB_NONE: zeros. */
typedef struct nb_recurrent_state {
    nb_var h, c;
} nb_recurrent_state;

NB_API nb_recurrent_layer nb_recurrent_new(nb_params *p, const char *name, nb_cell cell, int64_t in,
                                           int64_t units, const nb_recurrent_options *o, nb_rng *r);
/* x [steps n in] to [steps n units], or [steps n 2 units] in two directions. start may be NULL; *end,
 * unless NULL, receives the state after the last step (the first, backwards). */
NB_API nb_var nb_recurrent_apply(const nb_recurrent_layer *l, const nb_pass *m, nb_var x,
                                 const nb_recurrent_state *start, nb_recurrent_state *end);

/* ---- attention ------------------------------------------------------------------------------- */

/* Several heads, each nb_attention on a part of the width: x [n steps width] asks, memory [n others
 * width] answers; NB_NONE: x itself. */
typedef struct nb_attention_layer {
    nb_linear_layer query, key, value, out; /* [width width] */
    int64_t width, heads;
} nb_attention_layer;

NB_API nb_attention_layer nb_attention_new(nb_params *p, const char *name, int64_t width,
                                           int64_t heads, const nb_layer_options *o, nb_rng *r);
/* A mask broadcasts to [n heads steps others]. */
NB_API nb_var nb_attention_apply(const nb_attention_layer *l, const nb_pass *m, nb_var x,
                                 nb_var memory, const nb_attention_options *o);

typedef struct nb_transformer_options {
    int64_t heads;   /* 1 */
    int64_t hidden;  /* units of the feed-forward part; 4 width */
    nb_activation f; /* nb_gelu */
    double dropout;  /* on what each part adds */
    bool rms;        /* RMS norms in place of layer norms */
} nb_transformer_options;

/* The block with norms first: x + attention(norm x), then x + feed-forward(norm x). x [n steps width]. */
typedef struct nb_transformer_block {
    nb_norm_layer before_attention, before_mlp;
    nb_attention_layer attention;
    nb_linear_layer up, down;
    nb_activation f;
    double dropout;
} nb_transformer_block;

NB_API nb_transformer_block nb_transformer_new(nb_params *p, const char *name, int64_t width,
                                               const nb_transformer_options *o, nb_rng *r);
/* {.causal = true}: no step sees a later one. */
NB_API nb_var nb_transformer_apply(const nb_transformer_block *l, const nb_pass *m, nb_var x,
                                   const nb_attention_options *o);

#ifdef __cplusplus
}
#endif
#endif
