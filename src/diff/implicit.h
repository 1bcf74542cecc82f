/*
 * From a solution's values to the node of an implicit function.
 */
#ifndef NABLA_SRC_DIFF_IMPLICIT_H
#define NABLA_SRC_DIFF_IMPLICIT_H

#include "diff/equation.h"

/* Records y, the values of a solution of e at x, as one node with e's operands. context_bytes of e's context
 * are copied. Inert after an error: if y does not solve e to its tolerance, for one. */
nb_var nbi_implicit_node(nb_tape *t, const nbi_equation *e, nb_shape shape, const double *y,
                         const nb_var *x, size_t context_bytes);

#endif
