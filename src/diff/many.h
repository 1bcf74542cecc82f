/*
 * The derivatives of functions of many scalars, as graph code.
 */
#ifndef NABLA_SRC_DIFF_MANY_H
#define NABLA_SRC_DIFF_MANY_H

#include "tape/tape.h"

/* g times the derivative of node i by its k-th operand; NB_NONE if it is zero. */
nb_var nbi_many_product(nb_tape *t, uint32_t i, size_t k, nb_var g);

#endif
