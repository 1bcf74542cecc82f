/*
 * nabla/losses.h: what training makes small.
 *
 *     nb_var loss = nb_cross_entropy(logits, n, label, NULL);                the mean over n rows
 *     nb_var each = nb_huber(y, target, &(nb_loss_options){.reduction = NB_REDUCE_NONE});
 *
 * A loss is computed entry by entry, or row by row along the last axis, and then reduced. Losses of two
 * arrays want equal shapes (a number, or a scalar, as target goes with all): an array [n 1] against one [n]
 * is an error, not n^2 losses. Numbers mix in.
 *
 * Everything is ordinary graph code: it differentiates to any order, in targets and weights too where
 * these are vars with a gradient. Operands are looked at before anything is computed from them.
 */
#ifndef NABLA_LOSSES_H
#define NABLA_LOSSES_H

#include <nabla/op.h>
#include <nabla/ops.h>
#include <nabla/params.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum nb_reduction {
    NB_REDUCE_DEFAULT, /* the mean; the sum for nb_quadratic_cost */
    NB_REDUCE_MEAN, /* the sum of weight times loss, by the sum of weights: both of what mask leaves */
    NB_REDUCE_SUM,
    NB_REDUCE_NONE /* weight times loss; 0 where masked out */
} nb_reduction;

/* Zero means the default. */
typedef struct nb_loss_options {
    nb_reduction reduction;
    nb_var weight; /* of each loss; broadcasts to them. A zeroed var: none */
    nb_var mask;   /* the same; where it is 0 the loss is left out, whatever it is. No gradient */
    double delta;  /* of Huber's loss: where it turns straight; 1 */
    double margin; /* of hinge and triplet loss; 1 */
    double
        smoothing; /* of cross-entropy: this part of each label is spread over all classes evenly */
    bool ignore_negative; /* a label below 0 is left out; otherwise it is an error */
} nb_loss_options;

/* A mean over no losses, or over weights whose sum is not above 0, is an error (NB_ERR_EMPTY). */

/* ---- entry by entry -------------------------------------------------------------------------- */

NB_API nb_var nb_squared_error(nb_var y, nb_var target,
                               const nb_loss_options *o); /* (y - target)^2 */
/* (y - target)^2 / 2; NULL options: summed up, the quadratic cost of textbooks */
NB_API nb_var nb_quadratic_cost(nb_var y, nb_var target, const nb_loss_options *o);
NB_API nb_var nb_absolute_error(nb_var y, nb_var target, const nb_loss_options *o);
/* e^2 / 2 for |e| <= delta, else delta (|e| - delta / 2), with e = y - target */
NB_API nb_var nb_huber(nb_var y, nb_var target, const nb_loss_options *o);

/* -target log p - (1 - target) log(1 - p); inf where p is 0 and should not be. A p or a target outside
 * [0, 1] is an error (NB_ERR_DOMAIN). */
NB_API nb_var nb_binary_cross_entropy(nb_var p, nb_var target, const nb_loss_options *o);
/* The same of p = sigmoid(x), exact for any x. */
NB_API nb_var nb_logistic_loss(nb_var x, nb_var target, const nb_loss_options *o);

/* max(0, margin - label score), for labels of 1 and -1 */
NB_API nb_var nb_hinge(nb_var score, nb_var label, const nb_loss_options *o);
/* -log of Poisson's probability of count, without the log of its factorial: e^x - count x, for the
 * logarithm x of the rate */
NB_API nb_var nb_poisson_loss(nb_var x, nb_var count, const nb_loss_options *o);

/* The perceptron's: (step(score) - target) score, for targets 1 and 0. Where the binary step is right
 * it is 0, else |score|; the gradient is step(score) - target, which makes descent at rate r Rosenblatt's
 * rule w += r (target - step(w x)) x. */
NB_API nb_var nb_perceptron_loss(nb_var score, nb_var target, const nb_loss_options *o);

/* ---- row by row ------------------------------------------------------------------------------ */

/* Of arrays [... classes]: one loss for each row, in the shape of the axes in front, whose product is
 * n, the number of labels. A label outside [0, classes) is an error (NB_ERR_INDEX). */

/* -log softmax(logits)[label] */
NB_API nb_var nb_cross_entropy(nb_var logits, int64_t n, const int64_t *label,
                               const nb_loss_options *o);
/* -sum of p log softmax(logits), for probabilities p of logits' shape; 0 log 0 is 0 */
NB_API nb_var nb_soft_cross_entropy(nb_var logits, nb_var p, const nb_loss_options *o);
/* -log_p[label] */
NB_API nb_var nb_negative_log_likelihood(nb_var log_p, int64_t n, const int64_t *label,
                                         const nb_loss_options *o);
/* The divergence of Kullback and Leibler, sum of p (log p - log_q), for probabilities p */
NB_API nb_var nb_kl_divergence(nb_var log_q, nb_var p, const nb_loss_options *o);
/* The sum over all other classes of max(0, margin + score - the label's score) */
NB_API nb_var nb_multiclass_hinge(nb_var score, int64_t n, const int64_t *label,
                                  const nb_loss_options *o);
/* 1 - the cosine of the angle between rows of x and y; a row of zeros is at right angles to all */
NB_API nb_var nb_cosine_loss(nb_var x, nb_var y, const nb_loss_options *o);
/* max(0, |anchor - near| - |anchor - far| + margin), Euclidean */
NB_API nb_var nb_triplet_loss(nb_var anchor, nb_var near, nb_var far, const nb_loss_options *o);

/* ---- regularisers ---------------------------------------------------------------------------- */

/* To be added to a loss: l1 sum |x| + l2 sum x^2 over n vars. One of the two may be 0; with both it is
 * the elastic net. Not to be confused with weight decay, which is the optimizer's. */
NB_API nb_var nb_penalty(size_t n, const nb_var *x, double l1, double l2);
/* The same over the weights of a model: all parameters of two axes or more that are not frozen; biases
 * and gains go free. Where there are no terms it is the number 0. */
NB_API nb_var nb_weight_penalty(const nb_pass *m, double l1, double l2);

#ifdef __cplusplus
}
#endif

#include <nabla/mix_losses.h>
#endif
