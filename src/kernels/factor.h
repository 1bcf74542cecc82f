/* Factorisations of a square matrix, and the triangular systems that they leave:
 *
 *     LU          P A = L U         rows exchanged by P, L unit lower, U upper
 *     LDU         P A Q = L D W     columns too: L, W unit triangular, no element above 1
 *     Cholesky    A = U^T U         U upper with a positive diagonal
 *     triangular  T X = B  or  T^T X = B
 *
 * on bare row-major arrays of doubles, in place. A leading dimension is the distance
 * between the starts of two rows.
 *
 * All but LDU are recursions on halves that end in the matrix product. Cut the matrix in four
 * (for LU in two blocks of columns first) and the equation block by block says what to do:
 *
 *     [A11 A12]   [L11    ] [U11 U12]      factor the left columns, A11 and A21 at once
 *     [A21 A22] = [L21 L22] [    U22]      U12 from L11 U12 = A12
 *                                          A22 - L21 U12 = L22 U22, the same again
 *
 *     [U11^T      ] [U11 U12]              factor A11
 *     [U12^T U22^T] [    U22] = A          U12 from U11^T U12 = A12
 *                                          A22 - U12^T U12 = U22^T U22, the same again
 *
 *     [T11    ] [X1]   [B1]                solve for X1
 *     [T21 T22] [X2] = [B2]                T22 X2 = B2 - T21 X1
 *
 * All but O(n^2) of the arithmetic then happens in products of ever larger blocks, at
 * their speed, and blocks that fit each level of cache appear by themselves. The product
 * can add but not subtract, so the smaller of its factors is copied with its sign changed,
 * which is O(n^2) too. Below NBI_FACTOR_BASE rows plain loops take over; systems with
 * few columns, which are bound by reading T once, never leave them. */
#ifndef NBI_KERNELS_FACTOR_H
#define NBI_KERNELS_FACTOR_H

#include "kernels/matmul.h"

enum { NBI_FACTOR_BASE = 8, NBI_FACTOR_THIN = 4 };

/* What a factorisation works with: the product of doubles, its scratch, and a block with
 * its sign changed. */
typedef struct nbi_factor {
    nbi_matmul_fn product;
    void *scratch;
    double *block;
} nbi_factor;

/* The leading dimension that suits arrays of so many columns. Rows that lie a multiple of 512 bytes
 * apart crowd into few sets of the first-level cache, and everything here walks down rows. */
static inline int64_t nbi_factor_stride(int64_t columns)
{
    return columns && columns % 64 == 0 ? columns + 8 : columns;
}

/* Bytes of work memory for matrices up to [n n] and right sides up to [n m]; 0 for small ones;
 * SIZE_MAX if they overflow. */
size_t nbi_factor_bytes(nbi_isa isa, int64_t n, int64_t m);
/* memory: so many bytes, aligned to 64; NULL if they are 0. */
nbi_factor nbi_factor_with(nbi_isa isa, nbi_matmul_fn product, void *memory, int64_t n, int64_t m);

/* A [n n] becomes L below its diagonal and U above: A = P^T L U. Row i was exchanged with row
 * exchange[i] >= i, in ascending order of i. Returns the first i whose pivot is 0, where it stops,
 * or n. A NaN is taken for a pivot, and spreads. */
int64_t nbi_lu(const nbi_factor *f, int64_t n, double *a, int64_t lda, int64_t *exchange);

/* B [n m] becomes X in A X = B, or A^T X = B, for such a factorisation. */
void nbi_lu_solve(const nbi_factor *f, int64_t n, int64_t m, const double *lu, int64_t ldlu,
                  const int64_t *exchange, bool transposed, double *b, int64_t ldb);

/* A [n n] becomes L below its diagonal, D on it and W above: P A Q = L D W, by plain loops. Rows and
 * columns were exchanged as for nbi_lu, so that each pivot is the greatest element that is left: all
 * that is small about the matrix is in D, which ends in zeros if the rank is less than n. */
void nbi_ldu(int64_t n, double *a, int64_t lda, int64_t *rows, int64_t *columns);

/* The upper triangle of A [n n] becomes that of (A + A^T)/2. */
void nbi_half_sum(int64_t n, double *a, int64_t lda);

/* The upper triangle of A [n n] becomes U; what is below is not read, and of no use afterwards.
 * Returns the first i whose pivot is not above 0, which stands at A[i][i] then, or n. A NaN is taken
 * for a pivot, and spreads. */
int64_t nbi_cholesky(const nbi_factor *f, int64_t n, double *a, int64_t lda);

/* A triangle within a square array; what lies outside it is not read. */
typedef struct nbi_triangle {
    const double *data;
    int64_t n, ld;
    bool lower, transposed, unit; /* transposed: the system is T^T X = B */
} nbi_triangle;

/* B [n m] becomes X. No pivot is 0, or infinities and NaN follow. */
void nbi_triangle_solve(const nbi_factor *f, const nbi_triangle *t, int64_t m, double *b,
                        int64_t ldb);

/* Exchanges rows of B [n m] as a factorisation did, or undoes that. */
void nbi_exchange(int64_t n, const int64_t *exchange, bool undo, int64_t m, double *b, int64_t ldb);

/* B [n n] becomes B^T. */
void nbi_turn(int64_t n, double *b, int64_t ldb);

#endif
