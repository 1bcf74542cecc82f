/*
 * Attention's loops: see attention.h. Everything runs row by row, so a row's results depend neither on
 * the rows beside it nor on how rows are shared out. A row's sum runs in eight lanes of doubles.
 */
#include "kernels/attention.h"

#include <math.h>

enum { LANES = 8 };

/* How many columns row i sees. */
static int64_t seen_by(const nbi_scores *b, int64_t i)
{
    if (b->seen == INT64_MAX || b->seen + i >= b->columns)
        return b->columns;
    return b->seen + i > 0 ? b->seen + i : 0;
}

#define T       double
#define NAME(x) x##_f64
#include "kernels/attention.inc"
#undef T
#undef NAME

#define T       float
#define NAME(x) x##_f32
#include "kernels/attention.inc"
#undef T
#undef NAME

void nbi_scores_soften(const nbi_scores *b, double *m, double *l, double *alpha)
{
    (b->dtype == NB_F64 ? soften_f64 : soften_f32)(b, m, l, alpha);
}

void nbi_scores_weigh(const nbi_scores *b, const double *m, const double *l)
{
    (b->dtype == NB_F64 ? weigh_f64 : weigh_f32)(b, m, l);
}

void nbi_scores_adjoint(const nbi_scores *b, const void *w, void *d, const double *mean)
{
    if (b->dtype == NB_F64)
        adjoint_f64(b, w, d, mean);
    else
        adjoint_f32(b, w, d, mean);
}

void nbi_rows_scale(nb_dtype dtype, int64_t rows, int64_t width, void *a, const double *by)
{
    if (dtype == NB_F64)
        rows_scale_f64(rows, width, a, by);
    else
        rows_scale_f32(rows, width, a, by);
}

void nbi_rows_dot(nb_dtype dtype, int64_t rows, int64_t width, const void *a, const void *b,
                  double *dot)
{
    if (dtype == NB_F64)
        rows_dot_f64(rows, width, a, b, dot);
    else
        rows_dot_f32(rows, width, a, b, dot);
}
