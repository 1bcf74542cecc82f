/*
 * nabla/net.h: operations that networks are made of.
 *
 * Each is one node with a fused reverse rule, and each has its rule as graph code too, so that
 * derivatives of any order exist. A gain or bias that is not wanted is NB_NONE.
 */
#ifndef NABLA_NET_H
#define NABLA_NET_H

#include <nabla/op.h>

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
 * element; r moves on by one number for two elements. */
NB_API nb_var nb_dropout(nb_var x, double p, nb_rng *r);

#ifdef __cplusplus
}
#endif
#endif
