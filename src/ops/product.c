/*
 * The loops beside the matrix product, for floats and doubles from one source.
 *
 * The order of each sum is fixed by its length alone. A dot product runs in LANES partial sums,
 * lane l taking every LANES-th product from the l-th on, which are then added in pairs: the
 * compiler may keep them in vector registers, and the result is the same where it does not. Column
 * sums walk down STRIP columns at a time, so that a row's part of a strip is read as one run and
 * the sums stay in the first-level cache.
 */
#include "ops/product.h"

#include <string.h>

enum { LANES = 8, STRIP = 64 };
enum { GRAIN = 1 << 15 }; /* elements worth handing out */

#define REAL    double
#define NAME(x) x##_f64
#include "ops/product.inc"
#undef REAL
#undef NAME

#define REAL    float
#define NAME(x) x##_f32
#include "ops/product.inc"
#undef REAL
#undef NAME

double nbi_dot(nb_dtype d, int64_t n, const void *a, const void *b)
{
    return d == NB_F64 ? dot_f64(n, a, b) : dot_f32(n, a, b);
}

void nbi_scaled(nb_dtype d, int64_t n, double scale, const void *x, void *y, bool add)
{
    if (scale == 0) {
        if (!add && n)
            memset(y, 0, (size_t)n * (d == NB_F64 ? sizeof(double) : sizeof(float)));
    } else if (d == NB_F64) {
        scaled_f64(n, scale, x, y, add);
    } else {
        scaled_f32(n, scale, x, y, add);
    }
}

typedef struct column_job {
    nb_dtype dtype;
    int64_t rows, columns;
    const void *x;
    void *sums;
    bool add;
} column_job;

static void sum_columns(void *context, int64_t from, int64_t to, int worker)
{
    const column_job *j = context;
    (void)worker;
    if (j->dtype == NB_F64)
        column_sums_f64(j->rows, j->columns, from, to, j->x, j->sums, j->add);
    else
        column_sums_f32(j->rows, j->columns, from, to, j->x, j->sums, j->add);
}

void nbi_column_sums(const nbi_crew *crew, nb_dtype d, int64_t rows, int64_t columns, const void *x,
                     void *sums, bool add)
{
    const int64_t strip = rows < GRAIN / STRIP ? STRIP * rows : GRAIN; /* its elements, or enough */
    column_job j = {d, rows, columns, x, sums, add};
    nbi_crew_share(crew, columns, strip ? GRAIN / strip * STRIP : columns, sum_columns, &j);
}
