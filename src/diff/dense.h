/*
 * What the dense derivatives share: their arguments, and a row by one reverse sweep.
 */
#ifndef NABLA_SRC_DIFF_DENSE_H
#define NABLA_SRC_DIFF_DENSE_H

#include <nabla/diff.h>
#include "tape/tape.h"

/* Whether x[0..n) are live nodes of *home, which is set if it is NULL; else an error there. */
nb_code nbi_nodes(nb_tape **home, const char *what, size_t n, const nb_var *x);
/* The number of elements of all x together, in *total. */
nb_code nbi_elements(nb_tape *t, const char *what, size_t n, const nb_var *x, size_t *total);
/* NB_ERR_OVERFLOW if a matrix of doubles of this size cannot be addressed. */
nb_code nbi_matrix_fits(nb_tape *t, const char *what, size_t rows, size_t columns);
/* n zeros, until the scratch is given back; NULL after an error. */
double *nbi_zeros(nb_tape *t, const char *what, size_t n);
/* The gradient of <seed, out> by in[0..n_in), one after the other, into row. */
nb_code nbi_pull(nb_var out, const double *seed, size_t n_in, const nb_var *in, double *row);

#endif
