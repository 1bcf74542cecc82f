/*
 * What the operations that rearrange have in common.
 *
 * Each of them is a linear map whose matrix holds one 1 per row, or none: elements are moved, never
 * computed. So its tangent rule is the operation itself, applied to the tangent; and its reverse
 * rule is the transposed map, which moves the adjoint's elements back to where they came from, adds
 * up those that came from one place, and leaves 0 where nothing came from.
 */
#ifndef NABLA_SRC_ARRAY_H
#define NABLA_SRC_ARRAY_H

#include "kernels/move.h"
#include <nabla/op.h>

/* Whether operand k is a tensor; false after a refusal. */
bool nbi_needs_tensor(const nb_call *c, size_t k);

/* Whether a caller's shape can be a tensor's; false after a refusal. */
bool nbi_needs_shape(const nb_call *c, const nb_shape *s);

nb_shape nbi_shape_in(const nb_array *a);

/* Element i, of whichever type. */
double nbi_get_at(const nb_array *a, int64_t i);
/* Sets element i, or adds to it. */
void nbi_put_at(const nb_array *a, int64_t i, double v, bool add);

/* Prepares an adjoint for additions: clears it, unless it already holds something. */
void nbi_clear(const nb_array *a, bool add);

#endif
