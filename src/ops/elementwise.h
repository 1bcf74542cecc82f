/*
 * What the rows of the table are as operations on a tape.
 */
#ifndef NABLA_SRC_OPS_ELEMENTWISE_H
#define NABLA_SRC_OPS_ELEMENTWISE_H

#include "tape/tape.h"

/* The row's record, for calls with a tensor among the operands. */
extern const nb_op nbi_row_ops[NBI_ROWS];

/* A row of numbers. */
double nbi_row_value(enum nbi_row row, const double *v);
/* A row applied to scalars, tensors and numbers. */
nb_var nbi_row_call(enum nbi_row row, const nb_var *x);

/* The derivative of result r by operand k as graph code, and the chain rule's product with it.
 * NB_NONE if it is zero everywhere. */
nb_var nbi_row_product(enum nbi_row row, size_t k, const nb_var *x, nb_var r, nb_var g);

#endif
