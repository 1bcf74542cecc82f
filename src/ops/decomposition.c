/*
 * Decompositions: see decomposition.h.
 *
 * On the gaps. Vectors of a repeated value are not determined, only the space that they span, and
 * the derivative of a vector has a term in 1 / (x[j] - x[i]) for each other one. A result that does
 * not depend on the choice within that space makes the factor of this term 0, and rounding makes it
 * a small number instead, which a gap of rounding size would turn into anything. A computed value is
 * within a few size * unit * |A| of the true one; so closer pairs count as equal, and their term as
 * 0, which is the derivative of least norm.
 */
#include "ops/decomposition.h"

#include "kernels/reduce.h"
#include "tape/tape.h"
#include <float.h>
#include <math.h>
#include <nabla/ops.h>

bool nbi_needs_matrix(const nb_call *c)
{
    if (c->in[0].rank >= 2)
        return true;
    nb_refuse(c, NB_ERR_SHAPE, "needs a matrix, or a batch of them", NULL);
    return false;
}

nb_code nbi_packed_shape(const nb_call *c, int64_t rows, int64_t columns, nb_shape *out)
{
    *out = nb_shape_make((size_t)c->in[0].rank, c->in[0].dims);
    out->dims[out->rank - 2] = rows;
    out->dims[out->rank - 1] = columns;
    if (rows < 0)
        return nb_refuse(c, NB_ERR_OVERFLOW, "the result's size overflows", NULL);
    return NB_OK;
}

bool nbi_finite(int64_t n, const double *x)
{
    bool all = true;
    for (int64_t i = 0; i < n; i++)
        all = all && isfinite(x[i]);
    return all;
}

void nbi_put_nan(const nb_array *a, int64_t at, int64_t n)
{
    const double nan = (double)NAN;
    for (int64_t i = 0; i < n; i++)
        nbi_put(a->dtype, a->data, at + i, 1, &nan);
}

nb_code nbi_no_convergence(const nb_call *c, int64_t b)
{
    return nb_refuse(c, NB_ERR_DOMAIN, "the iteration does not converge",
                     "matrix %lld of the batch", (long long)b);
}

void nbi_transposed(int64_t rows, int64_t columns, const double *from, double *to)
{
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j++)
            to[j * rows + i] = from[i * columns + j];
}

/* ---- graph code ------------------------------------------------------------------------------ */

nb_var nbi_packed_part(nb_var packed, int64_t from, int64_t count)
{
    return nb_slice(packed, -2, from, from + count, 1);
}

nb_var nbi_packed_row(nb_var packed, int64_t row)
{
    return nb_squeeze(nbi_packed_part(packed, row, 1), NB_AXES(-2));
}

nb_code nbi_give_part(nb_var packed, int64_t from, int64_t count, nb_var *part)
{
    if (!part)
        return NB_OK;
    *part = !nb_ok(packed) ? packed
            : count < 0    ? nbi_packed_row(packed, from)
                           : nbi_packed_part(packed, from, count);
    return nb_ok(*part) ? NB_OK : packed.tape ? nb_status(packed.tape) : NB_ERR_HANDLE;
}

nb_var nbi_negligible(nb_var x, nb_var values, int64_t size)
{
    const double unit = nb_tape_dtype(x.tape) == NB_F64 ? DBL_EPSILON : (double)FLT_EPSILON;
    nb_var most = nb_amax_over(nb_abs(nb_detach(values)), NB_AXES(-1), true);
    if (nb_rank(x) > nb_rank(values))
        most = nb_unsqueeze(most, -2);
    return nb_le(nb_abs(x), nb_mul((double)size * unit, most));
}

nb_var nbi_inverse_but(nb_var mask, nb_var x)
{
    return nb_where(mask, 0, nb_recip(nb_where(mask, 1, x)));
}

nb_var nbi_inverse_gaps(nb_var x, int64_t size)
{
    nb_var gap = nb_sub(nb_unsqueeze(x, -2), nb_unsqueeze(x, -1));
    return nbi_inverse_but(nbi_negligible(gap, x, size), gap);
}
