/*
 * What all losses do at their ends: look at the operands, and reduce.
 */
#ifndef NABLA_SRC_NN_LOSS_H
#define NABLA_SRC_NN_LOSS_H

#include <nabla/losses.h>

/* Whether x and y are usable and of one shape, or y is one number; numbers become constants.
 * Otherwise *out is inert and the error told. */
bool nbi_pair(const char *who, nb_var *x, nb_var *y, nb_var *out);

/* Whether all elements of operand k of the pair x, y, or those NaN, lie in [0, 1]; likewise. */
bool nbi_probable(const char *who, int k, nb_var x, nb_var y, nb_var *out);

/* Weighs, masks and reduces as o asks, or as is usual where it does not. left: what o->mask left of
 * the losses, or NB_NONE for all. */
nb_var nbi_reduce_loss(const char *who, nb_var loss, const nb_loss_options *o, nb_reduction usual,
                       nb_var left);

/* Of o, or the default where o is NULL or its field is 0. */
double nbi_margin(const nb_loss_options *o);

#endif
