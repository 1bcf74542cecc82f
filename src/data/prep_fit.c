/*
 * Fitting preprocessing. Each step goes over the data once, through the steps before it, and keeps for
 * each column the mean m, the sum of squared deviations q, and the range:
 *
 *     m' = m + (x - m) / n        q' = q + (x - m) (x - m')
 *
 * which neither cancels nor overflows where sums of squares would. x is taken from the column's first
 * number, so that a large offset costs no digits. The variance is q / n.
 *
 * Whitening goes over the data once more for C = sum of (x - m)(x - m)' / n. Its eigenvectors v, rows,
 * turn the deviations to components that are uncorrelated, with variances l, so that
 *
 *     y = diag(l)^(-1/2) V (x - m)
 *
 * has the covariance diag(l)^(-1/2) V C V' diag(l)^(-1/2) = 1. Components come in descending order of
 * variance; those whose variance is rounding error are set to 0.
 */
#include "data/prep.h"

#include "base/reason.h"
#include "kernels/matmul.h"
#include "kernels/spectral.h"

#include <math.h>
#include <string.h>

enum { BLOCK = 256 };

/* ---- going over the data --------------------------------------------------------------------- */

/* Either a data set or a reader, block by block. */
typedef struct feed {
    const nb_dataset *d;
    nb_reader *r;
    int64_t at; /* rows before the present block */
    nb_dataset block;
} feed;

static void start_feed(feed *f)
{
    f->at = f->block.rows = 0;
    nb_reader_rewind(f->r);
}

/* The next block into f->block; no rows at the end. */
static nb_code feed_next(feed *f, nb_reason *why)
{
    f->at += f->block.rows;
    if (f->r) {
        const nb_dataset *block;
        nb_code code = nb_reader_next(f->r, BLOCK, &block, why);
        f->block = code ? (nb_dataset){0} : *block;
        return code;
    }
    f->block = *f->d;
    f->block.rows = f->d->rows - f->at < BLOCK ? f->d->rows - f->at : BLOCK;
    f->block.x =
        (const char *)f->d->x + (size_t)f->at * (size_t)f->d->columns * nbi_dtype_size(f->d->dtype);
    return NB_OK;
}

typedef struct fit {
    nb_prep *p;
    feed f;
    double *work;   /* two rows of the widest */
    double *moment; /* per column: mean, squares, least, most, first */
    int64_t rows;
} fit;

/* Row i of the block, as the maps so far leave it. */
static nb_code fit_row(fit *t, int64_t i, const double **x, nb_reason *why)
{
    const nb_dataset *b = &t->f.block;
    for (int64_t j = 0; j < b->columns; j++)
        if (!isfinite(nbi_element_at(b->dtype, b->x, i * b->columns + j)))
            return nbi_because(why, NB_ERR_ANOMALY,
                               "prep: a number that is not finite in row %lld, column %lld",
                               (long long)(t->f.at + i + 1), (long long)(j + 1));
    *x = nbi_prep_row(t->p, t->p->count, b, i, t->work, why);
    return *x ? NB_OK : NB_ERR_INDEX;
}

static nb_code take_moments(fit *t, int64_t columns, nb_reason *why)
{
    double *mean = t->moment, *square = mean + columns, *least = square + columns,
           *most = least + columns, *first = most + columns;
    memset(mean, 0, 2 * (size_t)columns * sizeof *mean);
    for (int64_t j = 0; j < columns; j++) {
        least[j] = (double)INFINITY;
        most[j] = (double)-INFINITY;
    }
    t->rows = 0;
    start_feed(&t->f);
    for (;;) {
        nb_code code = feed_next(&t->f, why);
        if (code)
            return code;
        if (!t->f.block.rows)
            break;
        for (int64_t i = 0; i < t->f.block.rows; i++) {
            const double *x;
            code = fit_row(t, i, &x, why);
            if (code)
                return code;
            const double n = (double)++t->rows;
            for (int64_t j = 0; j < columns; j++) {
                first[j] = t->rows == 1 ? x[j] : first[j];
                const double v = x[j] - first[j], off = v - mean[j];
                mean[j] += off / n;
                square[j] += off * (v - mean[j]);
                least[j] = fmin(least[j], x[j]);
                most[j] = fmax(most[j], x[j]);
            }
        }
    }
    for (int64_t j = 0; j < columns && t->rows; j++)
        mean[j] += first[j];
    return NB_OK;
}

/* ---- whitening ------------------------------------------------------------------------------- */

typedef struct whitening {
    int64_t n;
    double *covariance, *vectors, *values, *work, *block; /* [n n], [n n], [n], [2 n], [BLOCK n] */
    void *scratch;
    size_t bytes, scratch_bytes;
} whitening;

static nb_code take_covariance(fit *t, whitening *w, nb_reason *why)
{
    const int64_t n = w->n;
    const nbi_matmul_fn product = nbi_matmul_choose(nbi_isa_best(), true);
    memset(w->covariance, 0, (size_t)n * (size_t)n * sizeof(double));
    start_feed(&t->f);
    for (;;) {
        nb_code code = feed_next(&t->f, why);
        const int64_t rows = t->f.block.rows;
        if (code || !rows)
            return code;
        for (int64_t i = 0; i < rows; i++) {
            const double *x;
            code = fit_row(t, i, &x, why);
            if (code)
                return code;
            for (int64_t j = 0; j < n; j++)
                w->block[i * n + j] = x[j] - t->moment[j];
        }
        product(&(nbi_matmul){.m = n,
                              .n = n,
                              .k = rows,
                              .a = w->block,
                              .b = w->block,
                              .c = w->covariance,
                              .lda = n,
                              .ldb = n,
                              .ldc = n,
                              .ta = true,
                              .accumulate = true,
                              .scratch = w->scratch});
    }
}

static nb_code decompose(fit *t, whitening *w, nb_reason *why)
{
    const int64_t n = w->n;
    for (int64_t i = 0; i < n; i++) /* symmetric to the last bit, and of the mean */
        for (int64_t j = 0; j <= i; j++)
            w->covariance[i * n + j] = w->covariance[j * n + i] =
                w->covariance[i * n + j] / (double)t->rows;
    if (!nbi_eigh(n, w->covariance, w->values, w->vectors, w->work, NBI_ROUNDS))
        return nbi_because(why, NB_ERR_CONVERGENCE,
                           "prep: the principal components did not converge");
    nbi_map *m = &t->p->map[t->p->count - 1];
    memcpy(m->shift, t->moment, (size_t)n * sizeof(double));
    const double negligible = 1e-12 * w->values[n - 1];
    for (int64_t k = 0; k < m->out; k++) {
        const int64_t from = n - 1 - k; /* values ascend */
        const double l = w->values[from], scale = l > negligible ? 1 / sqrt(l) : 0;
        for (int64_t j = 0; j < n; j++)
            m->matrix[k * n + j] = scale * w->vectors[from * n + j];
    }
    return NB_OK;
}

static nb_code get_room(whitening *w, nbi_heap *heap, nb_reason *why)
{
    int64_t count;
    const int64_t n = w->n;
    if (n <= INT32_MAX && !__builtin_mul_overflow(n, 2 * n + 3 + BLOCK, &count) &&
        count < PTRDIFF_MAX / 16) {
        w->scratch_bytes = nbi_matmul_scratch(nbi_isa_best(), true, n, n, BLOCK);
        w->bytes = (size_t)count * sizeof(double) + w->scratch_bytes + NBI_ALIGN;
        w->covariance = nbi_resize(heap, NULL, 0, w->bytes);
    }
    if (!w->covariance)
        return nbi_because(why, NB_ERR_MEMORY, "prep: no memory to whiten %lld columns",
                           (long long)n);
    w->vectors = w->covariance + n * n;
    w->values = w->vectors + n * n;
    w->work = w->values + n;
    w->block = w->work + 2 * n;
    const uintptr_t end = (uintptr_t)(w->block + BLOCK * n);
    w->scratch = w->scratch_bytes ? (char *)(w->block + BLOCK * n) + (0 - end) % NBI_ALIGN : NULL;
    return NB_OK;
}

static nb_code fit_whitening(fit *t, int64_t columns, int64_t components, nb_reason *why)
{
    whitening w = {.n = columns};
    if (components < 0 || components > columns)
        return nbi_because(why, NB_ERR_ARGUMENT, "prep: %lld components of %lld columns",
                           (long long)components, (long long)columns);
    nb_code code = get_room(&w, &t->p->heap, why);
    if (!code)
        code = take_covariance(t, &w, why);
    if (!code)
        code = nbi_prep_add(t->p, NB_PREP_WHITEN, columns, components ? components : columns, NULL,
                            why);
    if (!code)
        code = decompose(t, &w, why);
    nbi_resize(&t->p->heap, w.covariance, w.covariance ? w.bytes : 0, 0);
    return code;
}

/* ---- steps ----------------------------------------------------------------------------------- */

static void set_scales(const fit *t, nbi_map *m)
{
    const double *mean = t->moment, *square = mean + m->in, *least = square + m->in,
                 *most = least + m->in;
    for (int64_t j = 0; j < m->in; j++) {
        const double range = most[j] - least[j], deviation = sqrt(square[j] / (double)t->rows);
        m->shift[j] = m->kind == NB_PREP_MIN_MAX ? least[j] : mean[j];
        m->scale[j] = m->kind == NB_PREP_CENTRE ? 1 : 0;
        if (m->kind == NB_PREP_STANDARDISE && deviation > 0)
            m->scale[j] = 1 / deviation;
        if (m->kind == NB_PREP_MIN_MAX && range > 0)
            m->scale[j] = 1 / range;
    }
}

static nb_code fit_moments(fit *t, nb_prep_step s, int64_t columns, nb_reason *why)
{
    const size_t bytes = 5 * (size_t)columns * sizeof(double) + 1;
    t->moment = nbi_resize(&t->p->heap, NULL, 0, bytes);
    if (!t->moment)
        return nbi_because(why, NB_ERR_MEMORY, "prep: no memory");
    nb_code code = take_moments(t, columns, why);
    if (!code && !t->rows)
        code = nbi_because(why, NB_ERR_EMPTY, "prep: there are no rows to fit to");
    if (!code && s.kind == NB_PREP_WHITEN) {
        code = fit_whitening(t, columns, s.components, why);
    } else if (!code) {
        code = nbi_prep_add(t->p, s.kind, columns, columns, NULL, why);
        if (!code)
            set_scales(t, &t->p->map[t->p->count - 1]);
    }
    nbi_resize(&t->p->heap, t->moment, bytes, 0);
    t->moment = NULL;
    return code;
}

static nb_code fit_step(fit *t, const nb_dataset *d, nb_prep_step s, nb_reason *why)
{
    if ((unsigned)s.kind > NB_PREP_WHITEN)
        return nbi_because(why, NB_ERR_ARGUMENT, "prep: no such step: %d", (int)s.kind);
    if (s.kind == NB_PREP_ONE_HOT) {
        if (t->p->count)
            return nbi_because(why, NB_ERR_ARGUMENT,
                               "prep: one-hot must be the first step: what others "
                               "leave are not codes any more");
        return nbi_prep_add(t->p, s.kind, d->columns, 0, d->levels, why);
    }
    const size_t bytes = nbi_prep_work(t->p) + 1;
    t->work = nbi_resize(&t->p->heap, NULL, 0, bytes);
    if (!t->work)
        return nbi_because(why, NB_ERR_MEMORY, "prep: no memory");
    nb_code code = fit_moments(t, s, nb_prep_columns(t->p), why);
    nbi_resize(&t->p->heap, t->work, bytes, 0);
    return code;
}

/* d: of the data, the sizes. */
static nb_code fit_all(feed f, const nb_dataset *d, const nb_allocator *allocator, size_t n,
                       const nb_prep_step *steps, nb_prep **out, nb_reason *why)
{
    if (n && !steps)
        return nbi_because(why, NB_ERR_ARGUMENT, "prep: no steps");
    fit t = {.f = f};
    nb_code code = nbi_prep_new(n, d->columns, allocator, &t.p, why);
    for (size_t k = 0; k < n && !code; k++)
        code = fit_step(&t, d, steps[k], why);
    if (code)
        nb_prep_free(t.p);
    else
        *out = t.p;
    return code;
}

nb_code nb_prep_fit(const nb_dataset *train, size_t n, const nb_prep_step *steps, nb_prep **out,
                    nb_reason *why)
{
    if (!out)
        return nbi_because(why, NB_ERR_ARGUMENT, "prep: nowhere to put it");
    *out = NULL;
    nb_code code = nbi_dataset_sane(train, why);
    if (!code && (!train->rows || !train->columns))
        code = nbi_because(why, NB_ERR_EMPTY, "prep: the data set is empty");
    return code ? code : fit_all((feed){.d = train}, train, train->allocator, n, steps, out, why);
}

nb_code nb_prep_fit_reader(nb_reader *train, size_t n, const nb_prep_step *steps, nb_prep **out,
                           nb_reason *why)
{
    if (!out)
        return nbi_because(why, NB_ERR_ARGUMENT, "prep: nowhere to put it");
    *out = NULL;
    if (!train)
        return nbi_because(why, NB_ERR_ARGUMENT, "prep: no reader");
    nb_code code =
        fit_all((feed){.r = train}, &train->block->d, &train->allocator, n, steps, out, why);
    nb_reader_rewind(train);
    return code;
}
