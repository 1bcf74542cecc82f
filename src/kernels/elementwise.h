/*
 * Loops over arrays for the rows of the table.
 *
 * Operands broadcast: a plan lines the shapes up at the last axis, gives each operand a stride of 0
 * along the axes on which it stretches, and merges axes that all operands walk alike, so that the
 * common cases (one shape; a row vector; a number) come out as one or two loops. The innermost stride
 * of an operand is then 1 or 0, and the kernel of a row is a loop that knows which.
 */
#ifndef NABLA_SRC_ELEMENTWISE_H
#define NABLA_SRC_ELEMENTWISE_H

#include <nabla/op.h>
#include "table/rows.h"

/* out = row(in…). out has the broadcast shape of the operands and their dtype. */
void nbi_row_forward(enum nbi_row row, size_t n_in, const nb_array *in, const nb_array *out);

/* to (+)= g * slope of the row by operand k, exactly 0 where g is 0. r is the row's result; to, r and
 * g have its shape and dtype. */
void nbi_row_reverse(enum nbi_row row, size_t k, size_t n_in, const nb_array *in, const nb_array *r,
                     const nb_array *g, const nb_array *to, bool add);

/* to (+)= from summed over the axes along which to broadcasts to from, or stretched along those where
 * from broadcasts to to. Sums of floats run in double. The dtypes may differ. */
void nbi_reduce_into(const nb_array *from, const nb_array *to, bool add);

#endif
