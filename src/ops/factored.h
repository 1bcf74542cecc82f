/*
 * What the operations on square matrices share.
 *
 * Whatever the type of the tape, they work in double: elements are widened on the way in and
 * rounded once on the way out, so that a float result has the accuracy of a float as long as the
 * matrix's condition leaves a double that much. Work memory is the tape's scratch; a factorisation
 * is kept beside the node.
 *
 * A kept factorisation serves the derivatives too: a rule that records another operation on the
 * same matrix hands it on in the state. The node it was kept for is older than the one that
 * borrows it, so it is forgotten later.
 */
#ifndef NABLA_SRC_FACTORED_H
#define NABLA_SRC_FACTORED_H

#include "kernels/factor.h"
#include <nabla/op.h>

/* ---- matrices in batches --------------------------------------------------------------------- */

/* Whether operand 0 is a matrix with as many columns as rows, or a batch of such; false after a
 * refusal. */
bool nbi_needs_square(const nb_call *c);

/* The shape rule of a system A X = B. */
nb_code nbi_system_shape(const nb_call *c, nb_shape *out);

/* Its rows, and how many matrices there are; the operand has that rank. */
int64_t nbi_order(const nb_array *a);
int64_t nbi_entries(const nb_array *a, int matrix_rank);

/* The entries of a batch in order, with the place of the one that each of two operands has for it,
 * counted in matrices. Set up by nbi_pairs_make; then nbi_pairs_next while it returns true. */
typedef struct nbi_pairs {
    int rank;
    int64_t dims[NB_MAX_RANK], place[NB_MAX_RANK], step[2][NB_MAX_RANK];
    int64_t entry, entries, at[2];
} nbi_pairs;

/* rank: the axes of a matrix, per operand. dims: the batch axes of both, broadcast. */
nbi_pairs nbi_pairs_make(const nb_call *c, const int matrix_rank[2], int rank, const int64_t *dims);
bool nbi_pairs_next(nbi_pairs *p);

/* ---- work ------------------------------------------------------------------------------------ */

/* What the kernels need for matrices [n n] and right sides [n m]; false if there is no memory. The
 * caller gives the scratch back. */
bool nbi_factor_work(const nb_call *c, int64_t n, int64_t m, nbi_factor *f);

/* Room for rows * columns doubles in the scratch; NULL if there is none. */
double *nbi_scratch_doubles(const nb_call *c, int64_t rows, int64_t columns);

/* A matrix [rows columns] at an element of an array, as doubles in work memory that has a leading
 * dimension; and back. */
void nbi_matrix_get(const nb_array *a, int64_t at, int64_t rows, int64_t columns, double *to,
                    int64_t ld);
void nbi_matrix_put(const nb_array *a, int64_t at, int64_t rows, int64_t columns,
                    const double *from, int64_t ld);

/* A place to work on results [rows columns]: in the result itself where it is of doubles and its
 * rows are well spaced, else in the scratch. */
typedef struct nbi_bench {
    double *own; /* NULL: in place */
    int64_t rows, columns, ld;
} nbi_bench;

/* False if there is no memory. */
bool nbi_bench_open(const nb_call *c, int64_t rows, int64_t columns, nbi_bench *b);
/* Where the result that begins at that element is worked on, and the end of the work. */
double *nbi_bench_at(const nb_call *c, const nbi_bench *b, int64_t at);
void nbi_bench_done(const nb_call *c, const nbi_bench *b, int64_t at);

/* ---- LU, kept -------------------------------------------------------------------------------- */

typedef struct nbi_factored {
    int64_t n, ld, entries;
    double *lu;        /* [entries n ld] */
    int64_t *exchange; /* [entries n] */
} nbi_factored;

static inline const double *nbi_factored_lu(const nbi_factored *x, int64_t entry)
{
    return x->lu + entry * x->n * x->ld;
}

static inline const int64_t *nbi_factored_exchange(const nbi_factored *x, int64_t entry)
{
    return x->exchange + entry * x->n;
}

/* Of operand 0, which has elements; in the scratch if not to be kept. NULL after a refusal: a
 * singular matrix, or no memory. */
const nbi_factored *nbi_factor_operand(const nb_call *c, const nbi_factor *f, bool keep);

/* Graph code: X in A X = B (or A^T X = B), and A^-1, by factors that are kept. */
nb_var nbi_solve_by(const nbi_factored *factors, nb_var a, nb_var b, bool transposed);
nb_var nbi_inverse_by(const nbi_factored *factors, nb_var a);

/* The refusal: the pivot that failed, and in which entry of operand 0. */
nb_code nbi_singular(const nb_call *c, const char *reason, int64_t entry, int64_t pivot,
                     double value);

/* ---- graph code ------------------------------------------------------------------------------ */

/* A vector operand of a system as a matrix of one column, and back. */
nb_var nbi_as_column(nb_var x, bool vector);
nb_var nbi_without_column(nb_var x, bool vector);

/* One number per entry of a batch, spread over matrices: two more axes of size 1. */
nb_var nbi_per_matrix(nb_var x);

/* ---- for samples ----------------------------------------------------------------------------- */

/* A batch of matrices [.. n n] far from singular: elements in [-1, 1], n more on the diagonal. */
nb_var nbi_sample_regular(nb_sampler *s, nb_shape shape);

#endif
