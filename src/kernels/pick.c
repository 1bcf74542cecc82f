/*
 * Gather and scatter; the contract is in pick.h.
 *
 * A scatter of doubles adds as it goes. A scatter of floats first chains the picked rows that go to
 * one place: head[x] is the first row whose index is x, next[j] the row after j with j's index.
 * Then a row that heads a chain takes all of its chain along, in a strip of double sums, and the
 * array's row is read and written once. Only the heads that an index names are ever looked at, so a
 * few tokens looked up in a large table stay cheap.
 */
#include "kernels/pick.h"

#include <string.h>

enum { STRIP = 64 };
enum { GRAIN = 1 << 15 }; /* elements worth handing out */

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

typedef struct job {
    nb_dtype dtype;
    const nbi_pick *pick;
    void *picked;
    const void *array;
    bool add;
} job;

static void gather_rows(void *context, int64_t from, int64_t to, int worker)
{
    const job *j = context;
    (void)worker;
    if (j->dtype == NB_F64)
        gather_f64(j->pick, from, to, j->picked, j->array, j->add);
    else
        gather_f32(j->pick, from, to, j->picked, j->array, j->add);
}

void nbi_gather(const nbi_crew *crew, nb_dtype d, const nbi_pick *p, void *picked,
                const void *array, bool add)
{
    nbi_crew_share(crew, p->outer * p->count, p->inner < GRAIN ? GRAIN / (p->inner + 1) : 1,
                   gather_rows, &(job){d, p, picked, array, add});
}

/* ---- scatter --------------------------------------------------------------------------------- */

static void scatter_f64(const nbi_pick *p, double *array, const double *picked)
{
    for (int64_t o = 0; o < p->outer; o++, array += p->n * p->inner)
        for (int64_t j = 0; j < p->count; j++, picked += p->inner) {
            const int64_t *x = indices(p, o, j, 0);
            for (int64_t i = 0; i < p->inner; i++)
                array[x[p->each ? i : 0] * p->inner + i] += picked[i];
        }
}

/* Chains the rows of equal indices x[0], x[step], …; the last of a chain is followed by -1. */
static void chain(const nbi_pick *p, const int64_t *x, int64_t step, int64_t *head, int64_t *next)
{
    for (int64_t j = 0; j < p->count; j++)
        head[x[j * step]] = -1;
    for (int64_t j = p->count - 1; j >= 0; j--) {
        next[j] = head[x[j * step]];
        head[x[j * step]] = j;
    }
}

/* Adds to one row, `width` columns of it, those of row j of picked and of all that it leads to. */
static void add_chain(const nbi_pick *p, int64_t width, float *restrict row,
                      const float *restrict picked, int64_t j, const int64_t *next)
{
    for (int64_t i = 0; i < width; i += STRIP) {
        double sum[STRIP];
        int64_t n = width - i < STRIP ? width - i : STRIP;
        for (int64_t k = 0; k < n; k++)
            sum[k] = (double)row[i + k];
        for (int64_t r = j; r >= 0; r = next[r])
            for (int64_t k = 0; k < n; k++)
                sum[k] += (double)picked[r * p->inner + i + k];
        for (int64_t k = 0; k < n; k++)
            row[i + k] = (float)sum[k];
    }
}

/* With an index for each element, every column has chains of its own. */
static void scatter_f32(const nbi_pick *p, float *array, const float *picked, int64_t *head)
{
    int64_t *next = head + p->n, width = p->each ? 1 : p->inner, step = p->each ? p->inner : 1;
    for (int64_t o = 0; o < p->outer; o++) {
        for (int64_t i = 0; i < p->inner; i += width) {
            const int64_t *x = indices(p, o, 0, i);
            if (p->each || o == 0)
                chain(p, x, step, head, next);
            for (int64_t j = 0; j < p->count; j++)
                if (head[x[j * step]] == j)
                    add_chain(p, width, array + x[j * step] * p->inner + i, picked + i, j, next);
        }
        array += p->n * p->inner;
        picked += p->count * p->inner;
    }
}

size_t nbi_scatter_scratch(nb_dtype d, const nbi_pick *p)
{
    return d == NB_F64 ? 0 : ((size_t)p->n + (size_t)p->count) * sizeof(int64_t);
}

void nbi_scatter(nb_dtype d, const nbi_pick *p, void *array, const void *picked, void *scratch)
{
    if (d == NB_F64)
        scatter_f64(p, array, picked);
    else
        scatter_f32(p, array, picked, scratch);
}
