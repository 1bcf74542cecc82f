/*
 * nabla/net.h: operations that networks are made of.
 *
 * Each is one node with a fused reverse rule, and each has its rule as graph code too, so that
 * derivatives of any order exist. A gain or bias that is not wanted is NB_NONE.
 */
#ifndef NABLA_NET_H
#define NABLA_NET_H

#include <nabla/op.h>
#include <nabla/ops.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- normalising ----------------------------------------------------------------------------- */

/* (x - mean) / sqrt(variance + eps) gain + bias over the last `last` axes of x; gain and bias have
 * the shape of those axes. Nothing overflows: a line of +-1e200 becomes +-1. Where variance and eps
 * are both 0, (x - mean) / 0 counts as 0, with gradient 0. */
NB_API nb_var nb_layer_norm(nb_var x, int last, nb_var gain, nb_var bias, double eps);
/* x / sqrt(mean of x^2 + eps) gain + bias, likewise. */
NB_API nb_var nb_rms_norm(nb_var x, int last, nb_var gain, nb_var bias, double eps);
/* x [n c ...]: mean and variance over each group of c / groups channels of each of the n; gain and
 * bias [c]. groups = c is instance norm. */
NB_API nb_var nb_group_norm(nb_var x, int64_t groups, nb_var gain, nb_var bias, double eps);

/* The running statistics of a batch norm: arrays of the caller's, mean 0 and variance 1 at first. */
typedef struct nb_running {
    int64_t channels;
    double *mean, *variance; /* [channels] */
    double momentum;         /* the part that each batch contributes; 0.1 is usual */
    bool hold;               /* leave them as they are */
} nb_running;

/* x [n c ...]: mean and variance of each channel over the batch; gain and bias [c]. In training they
 * are those of x, and running, which may be NULL, moves towards them (the variance's unbiased
 * estimate); less than two elements per channel are then an error. In evaluation they are the
 * running ones, which the node copies.
 * Each call in training moves the running statistics once, however often the node is swept or
 * differentiated. A function that records its operations once more during a sweep, to save memory,
 * calls this once more: set hold before the sweep and clear it afterwards. */
NB_API nb_var nb_batch_norm(nb_var x, nb_var gain, nb_var bias, double eps,
                            const nb_running *running, bool training);

/* ---- dropout --------------------------------------------------------------------------------- */

/* Each element is 0 with probability p (to within 2^-32), else x / (1 - p). A selection: what is
 * dropped is exactly 0 with gradient exactly 0, whatever x. The node keeps its mask, a bit an
 * element; r moves on by at most one number for two elements. A
 * function that records its operations once more must start from a copy of r. */
NB_API nb_var nb_dropout(nb_var x, double p, nb_rng *r);

/* ---- lookup ---------------------------------------------------------------------------------- */

/* A table of which each step touches few rows. The struct and the data are the caller's and outlive
 * the nodes; the data are of the tape's dtype and may change between steps. */
typedef struct nb_sparse_table {
    const void *data; /* [rows width] */
    int64_t rows, width;
} nb_sparse_table;

/* The rows that a gradient touches. */
typedef struct nb_sparse_rows {
    int64_t n;
    const int64_t *row; /* [n], ascending, each once */
    const void *values; /* [n width], of the tape's dtype */
} nb_sparse_rows;

/* nb_embedding of a table that is not on the tape: time, memory and gradient are those of the rows
 * that the indices name. nb_input_of(result, 0) is an input [n width] that holds copies of them. */
NB_API nb_var nb_embedding_sparse(nb_tape *t, const nb_sparse_table *table, nb_shape shape,
                                  const int64_t *index);
/* After a backward sweep: the gradient of the table, summed over all lookups that the sweep reached
 * (none: n is 0). It is valid until the next sweep, rewind or reset. */
NB_API nb_code nb_sparse_grad(nb_tape *t, const nb_sparse_table *table, nb_sparse_rows *out);

/* ---- attention ------------------------------------------------------------------------------- */

typedef struct nb_attention_options {
    nb_var mask;  /* broadcasts to the scores [... m n]; 0 hides. A zeroed var: none. No gradient */
    bool causal;  /* query i sees key j where j <= i + n - m: the last query sees all */
    double scale; /* 0: 1 / sqrt d */
} nb_attention_options;

/* softmax(scale q k^T) v with q [... m d], k [... n d], v [... n e], entry by entry of the leading
 * axes, which are equal; [... m e]. A query that sees no key gives 0 with gradient 0. A key that is
 * hidden has weight 0; its rows of k and v must be finite all the same, as 0 times NaN is NaN. Memory
 * grows with m, not with m n, but the rule as graph code forms the scores. NULL options: defaults. */
NB_API nb_var nb_attention(nb_var q, nb_var k, nb_var v, const nb_attention_options *options);

/* ---- recurrence ------------------------------------------------------------------------------ */

/* A long short-term memory over a whole sequence: x [steps n in], w_x [in 4u], w_h [u 4u], b [4u];
 * h0 and c0 [n u], or NB_NONE for zeros. The result holds h of every step, [steps n u].
 *     z = x w_x + h_before w_h + b, four gates of u side by side: i, f, g, o
 *     c = sigmoid(f) c_before + sigmoid(i) tanh(g),  h = sigmoid(o) tanh(c)
 * With one step this is the cell alone. Its rule as graph code records every step. */
NB_API nb_var nb_lstm(nb_var x, nb_var w_x, nb_var w_h, nb_var b, nb_var h0, nb_var c0);
/* The same; *c receives the last cell state [n u], differentiable as well, unless c is NULL. */
NB_API nb_var nb_lstm_state(nb_var x, nb_var w_x, nb_var w_h, nb_var b, nb_var h0, nb_var c0,
                            nb_var *c);

#ifdef __cplusplus
}
#endif

#include <nabla/mix_net.h>
#endif
