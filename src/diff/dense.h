/*
 * What the derivatives as matrices share: their arguments, a matrix filled by sweeps of unit
 * vectors, and the gradient as a passing guest on the tape.
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

/* A matrix of derivatives to be filled: of checked vars, `rows` elements of out by `columns` of in.
 * */
typedef struct nbi_dense {
    const char *what;
    nb_tape *t;
    bool forward;
    size_t n_out, n_in, rows, columns;
    const nb_var *out, *in;
} nbi_dense;

nb_code nbi_dense_fill(const nbi_dense *j, double *to);

/* The gradient of f, recorded, with what is needed to forget it. */
typedef struct nbi_gradient {
    nb_tape *t; /* f's; then that of all */
    size_t n_in;
    const nb_var *in;
    nb_var *g; /* [n_in], each in the shape of in[k] */
    size_t elements;
    nb_mark before;
    nbi_spot scratch;
} nbi_gradient;

/* Looks at f and the inputs, and counts these. */
nb_code nbi_gradient_check(nbi_gradient *d, const char *what, nb_var f);
/* After an error, too, it is to be closed. */
nb_code nbi_gradient_open(nbi_gradient *d, const char *what, nb_var f);
void nbi_gradient_close(nbi_gradient *d);

#endif
