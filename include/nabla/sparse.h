/*
 * nabla/sparse.h: Jacobians and Hessians that are mostly zeros.
 *
 * Which numbers can differ from zero is read off the graph, before any sweep. Columns (or rows)
 * that do not meet are coloured alike and share a sweep. So the cost is that of as many sweeps as
 * there are colours, often few and whatever the size: a tridiagonal matrix takes 3, one whose rows
 * see 15 of 10^5 inputs about 15.
 *
 *     nb_sparse *plan = nb_sparse_jacobian(m, y, n, x, NB_JACOBIAN_AUTO);
 *     nb_sparse_values(plan, m, y, n, x);
 *     nb_csr J = nb_sparse_matrix(plan);
 *     for (size_t k = J.row_start[i]; k < J.row_start[i + 1]; k++)
 *         ... J.column[k], J.value[k] ...
 *     nb_sparse_free(plan);
 *
 * The pattern is one of the graph, not of a point. Where the same function is recorded again, with
 * other numbers, the plan serves again: only nb_sparse_values is called anew.
 */
#ifndef NABLA_SPARSE_H
#define NABLA_SPARSE_H

#include <nabla/diff.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A matrix by its rows: row i has the places [row_start[i], row_start[i + 1]), in columns that
 * ascend. The memory is the plan's. */
typedef struct nb_csr {
    size_t rows, columns;
    const size_t *row_start; /* [rows + 1] */
    const uint32_t *column;
    const double *value; /* zeros before the first nb_sparse_values */
} nb_csr;

/* Places, colours, and how the numbers are found. It needs its tape no longer. */
typedef struct nb_sparse nb_sparse;

/* The plan of nb_jacobian's matrix; NULL after an error, which is on the tape. A place where the
 * derivative happens to vanish may be among its places. Known exactly are the patterns of scalar
 * nodes, of elementwise ops, of ops that move elements, of reductions, softmax and matrix products
 * along the axes that they keep; any other op, a segment and a loop (nabla/checkpoint.h) count as one
 * whose every result depends on its every operand. AUTO takes the way with the fewer sweeps. */
NB_API nb_sparse *nb_sparse_jacobian(size_t n_out, const nb_var *out, size_t n_in, const nb_var *in,
                                     nb_jacobian_mode mode);
/* The plan of nb_hessian's matrix, both halves. Its rows and columns are the inputs' elements. */
NB_API nb_sparse *nb_sparse_hessian(nb_var f, size_t n_in, const nb_var *in);
NB_API void nb_sparse_free(nb_sparse *s); /* NULL is fine */

/* Finds the numbers. The vars are those of the plan, or the same function recorded again, on
 * whichever tape: as many vars of the same sizes, and the same graph between them, for which the
 * caller answers. A Hessian has one output, f, and its matrix is exactly symmetric. The tape is
 * left as it was. */
NB_API nb_code nb_sparse_values(nb_sparse *s, size_t n_out, const nb_var *out, size_t n_in,
                                const nb_var *in);

NB_API nb_csr nb_sparse_matrix(const nb_sparse *s);
/* Directions or seeds that the values take, swept several at a time. */
NB_API size_t nb_sparse_sweeps(const nb_sparse *s);

#ifdef __cplusplus
}
#endif
#endif
