/*
 * Sparse matrices held to dense ones.
 */
#ifndef NABLA_TESTS_CSR_H
#define NABLA_TESTS_CSR_H

#include "matrix.h"

#include <nabla/sparse.h>

static inline size_t elements(size_t n, const nb_var *x)
{
    size_t total = 0;
    for (size_t k = 0; k < n; k++)
        total += (size_t)nb_size(x[k]);
    return total;
}

/* Whether the rows are those of a matrix: starts that ascend, columns that do. */
static inline void well_formed(nb_csr m)
{
    bool good = m.row_start[0] == 0;
    for (size_t r = 0; r < m.rows; r++) {
        good = good && m.row_start[r] <= m.row_start[r + 1];
        for (size_t k = m.row_start[r]; good && k < m.row_start[r + 1]; k++)
            good =
                m.column[k] < m.columns && (k == m.row_start[r] || m.column[k - 1] < m.column[k]);
    }
    ck_assert(good);
}

/* The worst difference from a dense matrix, relative to its largest number; *extra counts the
 * places where that one has a zero. */
static inline double apart(nb_csr m, const double *dense, size_t *extra)
{
    double most = 0, off = 0;
    *extra = 0;
    well_formed(m);
    for (size_t r = 0; r < m.rows; r++) {
        size_t k = m.row_start[r];
        for (size_t c = 0; c < m.columns; c++) {
            const double want = dense[r * m.columns + c];
            const bool here = k < m.row_start[r + 1] && m.column[k] == c;
            const double got = here ? m.value[k++] : 0;
            *extra += here && want == 0;
            most = fmax(most, fabs(want));
            if (got != want && !(isnan(got) && isnan(want)))
                off = fmax(off, isnan(got) || isnan(want) ? (double)INFINITY : fabs(got - want));
        }
    }
    return off > 0 ? off / most : 0;
}

/* The Jacobian by a plan of the mode against the dense one; the places too many. */
static inline size_t same_as_dense(const char *name, size_t n_out, const nb_var *out, size_t n_in,
                                   const nb_var *in, nb_jacobian_mode mode, double tol)
{
    size_t extra;
    double *J = doubles(elements(n_out, out) * elements(n_in, in) + 1);
    ck_assert_int_eq(nb_jacobian(n_out, out, n_in, in, NB_JACOBIAN_REVERSE, J), NB_OK);
    nb_sparse *s = nb_sparse_jacobian(n_out, out, n_in, in, mode);
    ck_assert_msg(s != NULL, "%s: %s", name, nb_message(in[0].tape));
    ck_assert_int_eq(nb_sparse_values(s, n_out, out, n_in, in), NB_OK);
    const nb_csr m = nb_sparse_matrix(s);
    ck_assert_uint_eq(m.rows, elements(n_out, out));
    ck_assert_uint_eq(m.columns, elements(n_in, in));
    const double off = apart(m, J, &extra);
    ck_assert_msg(off <= tol, "%s: %g apart in mode %d", name, off, (int)mode);
    nb_sparse_free(s);
    free(J);
    return extra;
}

#endif
