/*
 * Elementwise loops; the idea is told in elementwise.h, the loops stand in elementwise.inc.
 */
#include "kernels/elementwise.h"

#include <string.h>

#define NBI_REAL   double
#define NBI_SUFFIX
#include "table/arithmetic.h"

/* How operands walk over a result. The last axis is the inner loop. */
typedef struct plan {
    int rank; /* at least 1, after merging */
    size_t n_in;
    int64_t dims[NB_MAX_RANK], stride[3][NB_MAX_RANK];
    int64_t outer, inner, step[3];
} plan;

#define NBI_T    double
#define FN(name) name
#include "kernels/elementwise.inc"
#undef NBI_T
#undef FN
#define NBI_T    float
#define FN(name) name##f
#include "kernels/elementwise.inc"
#undef NBI_T
#undef FN

/* Strides of a dense array over the axes of the result, 0 where it stretches. */
static void strides_of(const nb_array *a, const nb_array *out, int64_t *stride)
{
    int64_t s = 1;
    for (int d = out->rank - 1, j = a->rank - 1; d >= 0; d--, j--) {
        stride[d] = j >= 0 && a->dims[j] != 1 ? s : 0;
        s *= j >= 0 ? a->dims[j] : 1;
    }
}

/* Whether axis d can join axis e, the one after it that was kept: all operands step through both as
 * through one. */
static bool joins(const plan *p, int64_t stride[3][NB_MAX_RANK], int d, int e)
{
    for (size_t k = 0; k < p->n_in; k++)
        if (stride[k][d] != p->stride[k][e] * p->dims[e])
            return false;
    return true;
}

static void make_plan(plan *p, size_t n_in, const nb_array *in, const nb_array *out)
{
    int64_t stride[3][NB_MAX_RANK];
    int last = NB_MAX_RANK; /* axes are kept at the end of the arrays, then moved to the front */
    p->n_in = n_in;
    bool same = true;
    for (size_t k = 0; k < n_in; k++)
        same = same && in[k].size == out->size;
    if (same || out->rank <= 0) { /* one shape: one loop (equal sizes leave no axis to stretch) */
        p->rank = 1;
        p->outer = out->size ? 1 : 0;
        p->inner = out->size;
        for (size_t k = 0; k < n_in; k++)
            p->step[k] = 1;
        return;
    }
    for (size_t k = 0; k < n_in; k++)
        strides_of(&in[k], out, stride[k]);
    for (int d = out->rank - 1; d >= 0; d--) {
        if (out->dims[d] == 1 && (last < NB_MAX_RANK || d > 0))
            continue;
        if (last < NB_MAX_RANK && joins(p, stride, d, last)) {
            p->dims[last] *= out->dims[d];
            continue;
        }
        p->dims[--last] = out->dims[d];
        for (size_t k = 0; k < n_in; k++)
            p->stride[k][last] = stride[k][d];
    }
    p->rank = NB_MAX_RANK - last;
    memmove(p->dims, p->dims + last, (size_t)p->rank * sizeof *p->dims);
    for (size_t k = 0; k < n_in; k++) {
        memmove(p->stride[k], p->stride[k] + last, (size_t)p->rank * sizeof *p->dims);
        p->step[k] = p->stride[k][p->rank - 1];
    }
    p->inner = p->dims[p->rank - 1];
    p->outer = p->inner ? out->size / p->inner : 0;
}

void nbi_row_forward(enum nbi_row row, size_t n_in, const nb_array *in, const nb_array *out)
{
    plan p;
    make_plan(&p, n_in, in, out);
    if (out->dtype == NB_F64)
        run_forward(&p, row, in, out->data);
    else
        run_forwardf(&p, row, in, out->data);
}

void nbi_row_reverse(enum nbi_row row, size_t k, size_t n_in, const nb_array *in, const nb_array *r,
                     const nb_array *g, const nb_array *to, bool add)
{
    plan p;
    make_plan(&p, n_in, in, r);
    if (r->dtype == NB_F64)
        run_reverse(&p, row, k, in, r->data, g->data, to->data, add);
    else
        run_reversef(&p, row, k, in, r->data, g->data, to->data, add);
}
