/*
 * What the products share: the loops that are not matrix products.
 *
 * A matrix product spends its time in the kernel of the tape. Around it stand three loops over long
 * runs, each of which sums in double whatever the elements are, so that the error of a float sum
 * does not grow with its length:
 *
 *     dot            sum over i of a[i] b[i]
 *     scaled         y = s x, or y += s x: the dot's reverse rule
 *     column sums    s[j] = sum over i of x[i, j]: the reverse rule of a bias
 *
 * The dot of two vectors is also what matmul does with them, so its rules work for both.
 */
#ifndef NABLA_SRC_PRODUCT_H
#define NABLA_SRC_PRODUCT_H

#include <nabla/op.h>
#include "base/pool.h"
#include "kernels/matmul.h"

/* The state of matmul: which operands have their last two axes exchanged. */
typedef struct nbi_matmul_flags {
    bool a, b;
} nbi_matmul_flags;

double nbi_dot(nb_dtype d, int64_t n, const void *a, const void *b);
/* A scale of exactly 0 contributes exactly 0, whatever x. */
void nbi_scaled(nb_dtype d, int64_t n, double scale, const void *x, void *y, bool add);
/* x [rows columns] to sums [columns]. */
void nbi_column_sums(const nbi_crew *crew, nb_dtype d, int64_t rows, int64_t columns, const void *x,
                     void *sums, bool add);

/* The rules of a call whose operands are two vectors of one length and whose result is a scalar. */
nb_code nbi_dot_forward(const nb_call *c);
nb_code nbi_dot_reverse_arrays(const nb_call *c, const nb_array *g, nb_array *const *gin,
                               const bool *add);
nb_code nbi_dot_reverse(const nb_rule *r);

/* The rules of x w + b, for the operations that do something to it: the shape; the product that is the
 * value, to be run; and from the adjoint g of x w + b, those of x, w and b. */
nb_code nbi_affine_shape(const nb_call *c, nb_shape *out);
nbi_matmul nbi_affine_product(const nb_call *c);
nb_code nbi_affine_adjoints(const nb_call *c, const nb_array *g, nb_array *const *gin,
                            const bool *add);
nb_code nbi_affine_rule(const nb_rule *r, nb_var g);

/* The batch axes of two operands that are vectors or matrices, broadcast, into out->dims; their
 * number, or -1 after a refusal. */
int nbi_batch_shape(const nb_call *c, nb_shape *out);

/* Graph code: x [… k] with its leading axes as one, [n k]; a vector as one row. */
nb_var nbi_as_rows(nb_var x);

#endif
