/*
 * Loops over arrays for the rows of the table.
 *
 * A kernel is the loop of one row over the last axis, forward or reverse by one operand. It exists
 * once per element type and instruction set: plain, for every machine, from table/arithmetic.h,
 * and in vectors from kernels/lanes.inc. All kernels of a set are one constant table, chosen once.
 * Sets agree bitwise on LIGHT rows and within a few units in the last place on the others; within
 * a set an element gives the same result wherever it stands.
 *
 * Operands broadcast: a plan lines the shapes up at the last axis, gives each operand a stride of 0
 * along the axes on which it stretches, and merges axes that all operands walk alike, so that the
 * common cases (one shape; a row vector; a number) come out as one or two loops. The innermost step
 * of an operand is then 1 or 0. A result may be written over an operand, or over what is read with
 * it, if both start at the same place.
 *
 * Since an element's result does not depend on where it stands, a crew may share the elements, cut
 * anywhere. A crew that is NULL is the caller alone.
 */
#ifndef NABLA_SRC_ELEMENTWISE_H
#define NABLA_SRC_ELEMENTWISE_H

#include <nabla/op.h>
#include "base/pool.h"
#include "kernels/cpu.h"
#include "table/rows.h"

/* out[i] = row of in[k][i * step[k]], for i < n. The only operand of a row has step 1. */
typedef void (*nbi_row_forward_fn)(int64_t n, const void *const *in, const int64_t *step,
                                   void *out);
/* to[i] (+)= g[i] * slope there, exactly 0 where g[i] is 0; r[i] is the row's result. */
typedef void (*nbi_row_reverse_fn)(int64_t n, const void *const *in, const int64_t *step,
                                   const void *r, const void *g, void *to, bool add);

/* By element type (nb_dtype) and row; reverse also by operand. */
typedef struct nbi_row_kernels {
    nbi_row_forward_fn forward[2][NBI_ROWS];
    nbi_row_reverse_fn reverse[2][NBI_ROWS][3];
} nbi_row_kernels;

extern const nbi_row_kernels nbi_row_kernels_plain;
extern const nbi_row_kernels nbi_row_kernels_avx2;
extern const nbi_row_kernels nbi_row_kernels_avx512;
extern const nbi_row_kernels nbi_row_kernels_neon;

/* The kernels for an available instruction set. A set this library was built without gives the
 * plain ones. */
const nbi_row_kernels *nbi_row_kernels_choose(nbi_isa isa);

/* out = row(in…). out has the broadcast shape of the operands and their dtype. */
void nbi_row_forward(const nbi_crew *crew, const nbi_row_kernels *kernels, enum nbi_row row,
                     size_t n_in, const nb_array *in, const nb_array *out);

/* to (+)= g * slope of the row by operand k, exactly 0 where g is 0. r is the row's result; to, r and
 * g have its shape and dtype. */
void nbi_row_reverse(const nbi_crew *crew, const nbi_row_kernels *kernels, enum nbi_row row,
                     size_t k, size_t n_in, const nb_array *in, const nb_array *r,
                     const nb_array *g, const nb_array *to, bool add);

/* to (+)= from summed over the axes along which to broadcasts to from, or stretched along those where
 * from broadcasts to to. Sums of floats run in double. The dtypes may differ. */
void nbi_reduce_into(const nbi_crew *crew, const nb_array *from, const nb_array *to, bool add);

#endif
