/* The matrix product on bare arrays:
 *
 *     C[m x n]  =  op(A)[m x k] op(B)[k x n]  (+ bias)  (+ C)
 *
 * row-major, op the identity or the transpose. A stored matrix has a leading
 * dimension, the distance between the starts of two rows, at least its width:
 *
 *     a  [m x k] if !ta, else [k x m];   b  [k x n] if !tb, else [n x k];   c  [m x n]
 *
 * The order of summation. An element is summed over k in ascending order, in
 * blocks of a fixed length: each block in its own register, the blocks then added
 * in order. That order is the same for every shape, whether panels were packed or
 * the roles of A and B exchanged, with one exception: when m or n is below
 * NBI_MATMUL_THIN the sum may run in vector lanes instead. So work may be divided
 * over m or n among several callers, and the result is bitwise that of one call, as
 * long as no piece is thinner than NBI_MATMUL_THIN unless the whole product is.
 *
 * Kernels never allocate. Large products want scratch for packed panels, and small
 * ones use a few KB of stack. C must not overlap A, B, the bias or the scratch. */
#ifndef NBI_KERNELS_MATMUL_H
#define NBI_KERNELS_MATMUL_H

#include "kernels/cpu.h"

#include <stddef.h>
#include <stdint.h>

enum { NBI_MATMUL_THIN = 4 };

typedef struct nbi_matmul {
    int64_t m, n, k; /* each may be 0: an empty sum is zero */
    const void *a, *b;
    void *c;
    int64_t lda, ldb, ldc;
    bool ta, tb;
    bool accumulate;  /* add to C instead of overwriting it */
    const void *bias; /* n values added to every row, or NULL */
    /* Called once on every finished element of C, in runs of n that lie side by side, while they are
     * still in a near cache; it may change them. NULL: not called. */
    void (*finish)(const void *context, int64_t n, void *c);
    const void *context;
    void *scratch;    /* 64-byte aligned, nbi_matmul_scratch() bytes; NULL if that is 0 */
} nbi_matmul;

typedef void (*nbi_matmul_fn)(const nbi_matmul *);

/* One precision of one instruction set. */
typedef struct nbi_matmul_kernel {
    nbi_matmul_fn run;
    size_t (*scratch)(int64_t m, int64_t n, int64_t k);
} nbi_matmul_kernel;

/* Bytes of scratch that any product of this shape may use, whatever its transposes.
 * Bounded by a constant (below 2 MB), so it cannot overflow. */
size_t nbi_matmul_scratch(nbi_isa isa, bool is_double, int64_t m, int64_t n, int64_t k);

/* The product for an available instruction set. A set this library was built without
 * gives the plain one. */
nbi_matmul_fn nbi_matmul_choose(nbi_isa isa, bool is_double);

/* Index 0 float, 1 double; one pair per object. */
extern const nbi_matmul_kernel nbi_matmul_plain[2];
extern const nbi_matmul_kernel nbi_matmul_avx2[2];
extern const nbi_matmul_kernel nbi_matmul_avx512[2];
extern const nbi_matmul_kernel nbi_matmul_neon[2];

#endif
