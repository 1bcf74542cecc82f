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
    int64_t inner, step[3];
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

/* ---- a range of elements --------------------------------------------------------------------- */

/* A call of a row, forward or (to is not NULL) reverse, cut up among a crew. */
typedef struct job {
    nbi_row_forward_fn forward;
    nbi_row_reverse_fn reverse;
    size_t n_in;
    const int64_t *step; /* where no axis is left to stretch along */
    const void *const *x;
    char *out;
    const char *r, *g;
    bool add;
    int64_t element;
    const nb_array *in, *shape;
} job;

/* Computes n elements from `at` on, whose operands stand at x. */
static void run(const job *j, int64_t n, const void *const *x, const int64_t *step, int64_t at)
{
    at *= j->element;
    if (j->reverse)
        j->reverse(n, x, step, j->r + at, j->g + at, j->out + at, j->add);
    else
        j->forward(n, x, step, j->out + at);
}

static void run_flat(void *context, int64_t from, int64_t to, int worker)
{
    const job *j = context;
    const void *x[3];
    (void)worker;
    for (size_t k = 0; k < j->n_in; k++)
        x[k] = (const char *)j->x[k] + from * j->step[k] * j->element;
    run(j, to - from, x, j->step, from);
}

/* Puts the operands at the start of line `i` of those along the kernel's axis. */
static void seek(const plan *p, int64_t i, int64_t *at, const void **x)
{
    for (int d = p->rank - 2; d >= 0; d--) {
        at[d] = i % p->dims[d];
        i /= p->dims[d];
        for (size_t k = 0; k < p->n_in; k++)
            x[k] = (const char *)x[k] + p->stride[k][d] * at[d];
    }
}

/* Moves the operands on to the next line. */
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

/* A range may begin and end within a line. */
static void run_lines(void *context, int64_t from, int64_t to, int worker)
{
    const job *j = context;
    int64_t at[NB_MAX_RANK] = {0};
    const void *x[3];
    plan p;
    (void)worker;
    make_plan(&p, j->n_in, j->in, j->shape);
    memcpy(x, j->x, j->n_in * sizeof *x);
    seek(&p, from / p.inner, at, x);
    int64_t skip = from % p.inner;
    for (int64_t i = from, n; i < to; i += n, skip = 0, advance(&p, at, x)) {
        const void *first[3];
        memcpy(first, x, j->n_in * sizeof *x);
        n = p.inner - skip < to - i ? p.inner - skip : to - i;
        for (size_t k = 0; skip && k < j->n_in; k++)
            first[k] = (const char *)x[k] + skip * p.step[k] * j->element;
        run(j, n, first, p.step, i);
    }
}

/* Elements worth handing out: some 20 us of the dearer rows, and of the cheap ones in doubles. */
static int64_t grain_of(enum nbi_row row, nb_dtype d)
{
    static const int64_t grain[NBI_ROWS] = {
#define LIGHT                      (1 << 16)
#define HEAVY                      (1 << 14)
#define UNARY(name, weight, ...)   [NBI_ROW_##name] = weight,
#define BINARY(name, weight, ...)  [NBI_ROW_##name] = weight,
#define TERNARY(name, weight, ...) [NBI_ROW_##name] = weight,
#define TEST(name, ...)            [NBI_ROW_##name] = LIGHT,
#include "table/table.def"
#undef UNARY
#undef BINARY
#undef TERNARY
#undef TEST
#undef LIGHT
#undef HEAVY
    };
    return d == NB_F32 ? 2 * grain[row] : grain[row];
}

static void share(const nbi_crew *crew, enum nbi_row row, bool flat, job *j)
{
    const nb_array *shape = j->shape;
    nbi_piece *work = flat ? run_flat : run_lines;
    if (crew && crew->pool)
        nbi_crew_share(crew, shape->size, grain_of(row, shape->dtype), work, j);
    else if (shape->size)
        work(j, 0, shape->size, 0);
}

/* Flat and alone, as most small arrays are: at once. */
void nbi_row_forward(const nbi_crew *crew, const nbi_row_kernels *kernels, enum nbi_row row,
                     size_t n_in, const nb_array *in, const nb_array *out)
{
    const nbi_row_forward_fn kernel = kernels->forward[out->dtype][row];
    int64_t step[3];
    const void *x[3];
    const bool flat = is_flat(n_in, in, out, step, x);
    if (flat && !(crew && crew->pool)) {
        kernel(out->size, x, step, out->data);
        return;
    }
    job j = {.forward = kernel, .n_in = n_in, .in = in, .shape = out, .out = out->data};
    j.step = step, j.x = x, j.element = element(out->dtype);
    share(crew, row, flat, &j);
}

void nbi_row_reverse(const nbi_crew *crew, const nbi_row_kernels *kernels, enum nbi_row row,
                     size_t k, size_t n_in, const nb_array *in, const nb_array *r,
                     const nb_array *g, const nb_array *to, bool add)
{
    const nbi_row_reverse_fn kernel = kernels->reverse[r->dtype][row][k];
    int64_t step[3];
    const void *x[3];
    const bool flat = is_flat(n_in, in, r, step, x);
    if (flat && !(crew && crew->pool)) {
        kernel(r->size, x, step, r->data, g->data, to->data, add);
        return;
    }
    job j = {.reverse = kernel, .n_in = n_in, .in = in, .shape = r, .out = to->data};
    j.r = r->data, j.g = g->data, j.add = add;
    j.step = step, j.x = x, j.element = element(r->dtype);
    share(crew, row, flat, &j);
}
