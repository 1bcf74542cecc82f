/*
 * Gather and scatter; the contract is in pick.h.
 *
 * The double sums of a float scatter live in a strip [n STRIP] of scratch. One strip is worked off
 * in three passes over the indices: clear the rows that are named, add to them, and hand each sum
 * over to the array. Handing over clears the sum, so a row that is named again hands over 0. No pass
 * is over all n rows: a few tokens looked up in a large table stay cheap.
 */
#include "kernels/pick.h"

#include <string.h>

enum { STRIP = 8 };

/* The index of picked row j at outer place o, or the indices of its elements from the i-th on. */
static const int64_t *indices(const nbi_pick *p, int64_t o, int64_t j, int64_t i)
{
    return p->each ? p->index + (o * p->count + j) * p->inner + i : p->index + j;
}

#define REAL    double
#define NAME(x) x##_f64
#include "kernels/pick.inc"
#undef REAL
#undef NAME

#define REAL    float
#define NAME(x) x##_f32
#include "kernels/pick.inc"
#undef REAL
#undef NAME

void nbi_gather(nb_dtype d, const nbi_pick *p, void *picked, const void *array, bool add)
{
    if (d == NB_F64)
        gather_f64(p, picked, array, add);
    else
        gather_f32(p, picked, array, add);
}

/* ---- scatter ---- */

static void scatter_f64(const nbi_pick *p, double *array, const double *picked)
{
    for (int64_t o = 0; o < p->outer; o++, array += p->n * p->inner)
        for (int64_t j = 0; j < p->count; j++, picked += p->inner) {
            const int64_t *x = indices(p, o, j, 0);
            for (int64_t i = 0; i < p->inner; i++)
                array[x[p->each ? i : 0] * p->inner + i] += picked[i];
        }
}

/* Columns i to i + width of the array's part at outer place o. */
static void scatter_strip(const nbi_pick *p, int64_t o, int64_t i, int64_t width, float *array,
                          const float *picked, double *sums)
{
    for (int pass = 0; pass < 3; pass++)
        for (int64_t j = 0; j < p->count; j++) {
            const int64_t *x = indices(p, o, j, i);
            for (int64_t k = 0; k < width; k++) {
                int64_t row = x[p->each ? k : 0];
                double *sum = &sums[row * width + k];
                float *to = &array[row * p->inner + i + k];
                if (pass == 1)
                    *sum += (double)picked[j * p->inner + i + k];
                else if (pass == 2)
                    *to = (float)((double)*to + *sum);
                if (pass != 1)
                    *sum = 0;
            }
        }
}

static void scatter_f32(const nbi_pick *p, float *array, const float *picked, double *sums)
{
    for (int64_t o = 0; o < p->outer; o++) {
        for (int64_t i = 0; i < p->inner; i += STRIP)
            scatter_strip(p, o, i, p->inner - i < STRIP ? p->inner - i : STRIP, array, picked, sums);
        array += p->n * p->inner;
        picked += p->count * p->inner;
    }
}

size_t nbi_scatter_scratch(nb_dtype d, const nbi_pick *p)
{
    int64_t width = p->inner < STRIP ? p->inner : STRIP;
    return d == NB_F64 ? 0 : (size_t)p->n * (size_t)width * sizeof(double);
}

void nbi_scatter(nb_dtype d, const nbi_pick *p, void *array, const void *picked, void *scratch)
{
    if (d == NB_F64)
        scatter_f64(p, array, picked);
    else
        scatter_f32(p, array, picked, scratch);
}
