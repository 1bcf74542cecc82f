/*
 * Elementwise loops; the idea is told in elementwise.h. This file holds the choice of kernels and
 * the walk over the outer axes, which knows neither the row nor the element type: strides are in
 * bytes. Where no operand stretches along some axes and not along others, there is nothing to walk
 * and the kernel is called at once: small arrays, of which training has many, are all overhead.
 */
#include "kernels/elementwise.h"

#include <string.h>

const nbi_row_kernels *nbi_row_kernels_choose(nbi_isa isa)
{
#if defined(__x86_64__)
    if (isa == NBI_ISA_AVX512)
        return &nbi_row_kernels_avx512;
    if (isa == NBI_ISA_AVX2)
        return &nbi_row_kernels_avx2;
#elif defined(__aarch64__)
    if (isa == NBI_ISA_NEON)
        return &nbi_row_kernels_neon;
#endif
    (void)isa;
    return &nbi_row_kernels_plain;
}

static int64_t element(nb_dtype d) { return d == NB_F64 ? sizeof(double) : sizeof(float); }

/* How operands walk over a result. The last axis is the kernel's. */
typedef struct plan {
    int rank; /* at least 1, after merging */
    size_t n_in;
    int64_t dims[NB_MAX_RANK], stride[3][NB_MAX_RANK]; /* in elements, then in bytes */
    int64_t outer, inner, step[3];
} plan;

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
    const int64_t bytes = element(out->dtype);
    int64_t stride[3][NB_MAX_RANK];
    int last = NB_MAX_RANK; /* axes are kept at the end of the arrays, then moved to the front */
    p->n_in = n_in;
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
        for (int d = 0; d < p->rank; d++)
            p->stride[k][d] *= bytes;
    }
    p->inner = p->dims[p->rank - 1];
    p->outer = p->inner ? out->size / p->inner : 0;
}

/* The common cases: every operand has as many elements as the result, so that no axis is left to
 * stretch along, or is one number. */
static bool is_flat(size_t n_in, const nb_array *in, const nb_array *out, int64_t *step,
                    const void **x)
{
    bool flat = true;
    for (size_t k = 0; k < n_in; k++) {
        x[k] = in[k].data;
        step[k] = in[k].size == out->size;
        flat = flat && (step[k] || in[k].size == 1);
    }
    return flat;
}

/* Moves the operands on to the next run along the kernel's axis. */
static void advance(const plan *p, int64_t *at, const void **x)
{
    for (int d = p->rank - 2; d >= 0; d--) {
        const int64_t back = ++at[d] == p->dims[d] ? p->dims[d] : 0;
        for (size_t k = 0; k < p->n_in; k++)
            x[k] = (const char *)x[k] + p->stride[k][d] * (1 - back);
        if (!back)
            return;
        at[d] = 0;
    }
}

void nbi_row_forward(const nbi_row_kernels *kernels, enum nbi_row row, size_t n_in,
                     const nb_array *in, const nb_array *out)
{
    const nbi_row_forward_fn kernel = kernels->forward[out->dtype][row];
    int64_t at[NB_MAX_RANK] = {0}, step[3];
    const void *x[3];
    if (is_flat(n_in, in, out, step, x)) {
        kernel(out->size, x, step, out->data);
        return;
    }
    plan p;
    make_plan(&p, n_in, in, out);
    const int64_t run = p.inner * element(out->dtype);
    char *to = out->data;
    for (int64_t left = p.outer; left > 0; left--, to += run, advance(&p, at, x))
        kernel(p.inner, x, p.step, to);
}

void nbi_row_reverse(const nbi_row_kernels *kernels, enum nbi_row row, size_t k, size_t n_in,
                     const nb_array *in, const nb_array *r, const nb_array *g, const nb_array *to,
                     bool add)
{
    const nbi_row_reverse_fn kernel = kernels->reverse[r->dtype][row][k];
    int64_t at[NB_MAX_RANK] = {0}, step[3];
    const void *x[3];
    if (is_flat(n_in, in, r, step, x)) {
        kernel(r->size, x, step, r->data, g->data, to->data, add);
        return;
    }
    plan p;
    make_plan(&p, n_in, in, r);
    const int64_t run = p.inner * element(r->dtype);
    for (int64_t i = 0; i < p.outer; i++, advance(&p, at, x))
        kernel(p.inner, x, p.step, (const char *)r->data + i * run, (const char *)g->data + i * run,
               (char *)to->data + i * run, add);
}
