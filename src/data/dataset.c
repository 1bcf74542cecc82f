/*
 * Data sets: owning, growing, checking, copying rows.
 *
 * The arrays of a table share one block: x, then y, then the labels, each at a multiple of 64 bytes. It
 * grows by moving to a larger one, so that a failure leaves everything as it was.
 */
#include "data/dataset.h"

#include "base/reason.h"
#include "base/shape.h"

#include <math.h>
#include <string.h>

/* ---- tables ---------------------------------------------------------------------------------- */

typedef struct layout {
    size_t x, y, label, whole; /* offsets; bytes */
} layout;

static bool add_array(size_t *at, int64_t rows, int64_t columns, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow((size_t)rows, (size_t)columns, &bytes) ||
        __builtin_mul_overflow(bytes, size, &bytes) || bytes > PTRDIFF_MAX / 4)
        return false;
    *at += (bytes + NBI_ALIGN - 1) / NBI_ALIGN * NBI_ALIGN;
    return *at <= PTRDIFF_MAX;
}

static bool plan(const nbi_table *t, int64_t rows, layout *l)
{
    const size_t size = nbi_dtype_size(t->d.dtype);
    *l = (layout){.x = 0};
    bool good = add_array(&l->y, rows, t->d.columns, size);
    l->label = l->y;
    good = good && add_array(&l->label, rows, t->d.targets, size);
    l->whole = l->label;
    return good && add_array(&l->whole, rows, t->has_label, sizeof *t->label);
}

static char *align(char *p) { return p + (NBI_ALIGN - (uintptr_t)p % NBI_ALIGN) % NBI_ALIGN; }

static void move_rows(nbi_table *t, char *to, const layout *l)
{
    const size_t rows = (size_t)t->d.rows, size = nbi_dtype_size(t->d.dtype);
    char *base = align(to);
    if (t->block) {
        memcpy(base + l->x, t->x, rows * (size_t)t->d.columns * size);
        memcpy(base + l->y, t->y, rows * (size_t)t->d.targets * size);
        memcpy(base + l->label, t->label, t->has_label ? rows * sizeof *t->label : 0);
    }
    t->x = base + l->x;
    t->y = base + l->y;
    t->label = (int64_t *)(void *)(base + l->label);
    t->d.x = t->x;
    t->d.y = t->d.targets ? t->y : NULL;
    t->d.label = t->has_label ? t->label : NULL;
}

nb_code nbi_table_reserve(nbi_table *t, int64_t rows, nb_reason *why)
{
    layout l;
    if (rows <= t->room)
        return NB_OK;
    const bool fits = plan(t, rows, &l);
    char *block = fits ? nbi_resize(&t->heap, NULL, 0, l.whole + NBI_ALIGN) : NULL;
    if (!block)
        return nbi_because(why, fits ? NB_ERR_MEMORY : NB_ERR_OVERFLOW,
                           "data: no memory for %lld rows of %lld numbers", (long long)rows,
                           (long long)t->d.columns);
    move_rows(t, block, &l);
    nbi_resize(&t->heap, t->block, t->bytes, 0);
    t->block = block;
    t->bytes = l.whole + NBI_ALIGN;
    t->room = rows;
    return NB_OK;
}

nb_code nbi_table_new(const nb_dataset *like, bool has_label, int64_t rows,
                      const nb_allocator *allocator, nbi_table **out, nb_reason *why)
{
    nbi_heap heap;
    nbi_heap_init(&heap, allocator, 0);
    nbi_table *t = *out = nbi_resize(&heap, NULL, 0, sizeof *t);
    if (!t)
        return nbi_because(why, NB_ERR_MEMORY, "data: no memory for a data set");
    *t = (nbi_table){.allocator = heap.allocator, .heap = heap, .has_label = has_label};
    t->d = (nb_dataset){.columns = like->columns, .shape = like->shape, .dtype = like->dtype};
    t->d.classes = has_label ? like->classes : 0;
    t->d.targets = like->targets;
    t->d.allocator = &t->allocator;
    if (!t->d.shape.rank)
        t->d.shape = (nb_shape){1, {t->d.columns}};
    nb_code code = nbi_table_reserve(t, rows < 1 ? 1 : rows, why);
    if (!code && like->levels) {
        t->levels = nbi_resize(&t->heap, NULL, 0, (size_t)t->d.columns * sizeof *t->levels);
        if (t->levels)
            memcpy(t->levels, like->levels, (size_t)t->d.columns * sizeof *t->levels);
        else
            code = nbi_because(why, NB_ERR_MEMORY, "data: no memory for a data set");
        t->d.levels = t->levels;
    }
    if (code) {
        nbi_table_free(t);
        *out = NULL;
    }
    return code;
}

void nbi_table_free(nbi_table *t)
{
    if (!t)
        return;
    nbi_resize(&t->heap, t->levels, t->levels ? (size_t)t->d.columns * sizeof *t->levels : 0, 0);
    nbi_resize(&t->heap, t->block, t->bytes, 0);
    nbi_heap heap = t->heap;
    nbi_resize(&heap, t, sizeof *t, 0);
}

void nb_dataset_free(nb_dataset *d) { nbi_table_free((nbi_table *)d); }

void nbi_table_copy(nbi_table *t, int64_t to, const nb_dataset *d, int64_t from)
{
    const size_t size = nbi_dtype_size(d->dtype);
    const size_t row = (size_t)d->columns * size, target = (size_t)d->targets * size;
    memcpy((char *)t->x + (size_t)to * row, (const char *)d->x + (size_t)from * row, row);
    if (target)
        memcpy((char *)t->y + (size_t)to * target, (const char *)d->y + (size_t)from * target,
               target);
    if (t->has_label)
        t->label[to] = d->label[from];
}

/* ---- checking -------------------------------------------------------------------------------- */

nb_code nbi_dataset_sane(const nb_dataset *d, nb_reason *why)
{
    if (!d)
        return nbi_because(why, NB_ERR_ARGUMENT, "data: no data set");
    if (d->rows < 0 || d->columns < 0 || d->targets < 0 || d->classes < 0 ||
        (d->dtype != NB_F64 && d->dtype != NB_F32))
        return nbi_because(why, NB_ERR_ARGUMENT, "data: a negative size, or an unknown dtype");
    if (d->shape.rank && nb_shape_size(d->shape) != d->columns) {
        char text[NBI_SHAPE_TEXT];
        const int rank = d->shape.rank > NB_MAX_RANK ? NB_MAX_RANK : d->shape.rank;
        return nbi_because(why, NB_ERR_SHAPE, "data: rows of %lld columns have the shape %s",
                           (long long)d->columns, nbi_shape_text(text, rank, d->shape.dims));
    }
    int64_t n;
    if (__builtin_mul_overflow(d->rows, d->columns, &n) ||
        __builtin_mul_overflow(d->rows, d->targets, &n))
        return nbi_because(why, NB_ERR_OVERFLOW, "data: rows times columns overflows");
    if (d->rows && ((d->columns && !d->x) || (d->targets && !d->y)))
        return nbi_because(why, NB_ERR_ARGUMENT, "data: x or y is missing");
    return NB_OK;
}

static nb_code check_finite(nb_dtype dtype, const void *x, int64_t rows, int64_t columns,
                            const char *name, nb_reason *why)
{
    for (int64_t i = 0; i < rows * columns; i++) {
        const double v = nbi_element_at(dtype, x, i);
        if (!isfinite(v))
            return nbi_because(why, NB_ERR_ANOMALY, "data: %s in %s at row %lld, column %lld",
                               isnan(v) ? "NaN" : "an infinite number", name,
                               (long long)(i / columns + 1), (long long)(i % columns + 1));
    }
    return NB_OK;
}

nb_code nb_dataset_check(const nb_dataset *d, nb_reason *why)
{
    nb_code code = nbi_dataset_sane(d, why);
    if (!code && (!d->rows || !d->columns))
        return nbi_because(why, NB_ERR_EMPTY,
                           "data: the data set is empty: %lld rows, %lld columns",
                           (long long)d->rows, (long long)d->columns);
    if (!code)
        code = check_finite(d->dtype, d->x, d->rows, d->columns, "x", why);
    if (!code)
        code = check_finite(d->dtype, d->y, d->rows, d->targets, "y", why);
    for (int64_t i = 0; !code && d->label && i < d->rows; i++)
        if (d->label[i] < 0 || (d->classes && d->label[i] >= d->classes))
            return nbi_because(
                why, NB_ERR_INDEX,
                d->classes ? "data: label %lld in row %lld, but there are %lld classes, from 0"
                           : "data: label %lld in row %lld is negative",
                (long long)d->label[i], (long long)(i + 1), (long long)d->classes);
    for (int64_t i = 0; !code && d->levels && i < d->rows * d->columns; i++) {
        const int64_t levels = d->levels[i % d->columns];
        const double v = nbi_element_at(d->dtype, d->x, i);
        if (levels && !(v >= 0 && v < (double)levels && v == floor(v)))
            return nbi_because(why, NB_ERR_INDEX,
                               "data: code %g at row %lld, column %lld, which has %lld levels", v,
                               (long long)(i / d->columns + 1), (long long)(i % d->columns + 1),
                               (long long)levels);
    }
    return code;
}

/* ---- copies ---------------------------------------------------------------------------------- */

nb_code nb_dataset_take(const nb_dataset *d, int64_t n, const int64_t *index, nb_dataset **out,
                        nb_reason *why)
{
    nbi_table *t = NULL;
    if (!out)
        return nbi_because(why, NB_ERR_ARGUMENT, "take: nowhere to put the rows");
    *out = NULL;
    nb_code code = nbi_dataset_sane(d, why);
    if (code)
        return code;
    if (n < 0)
        return nbi_because(why, NB_ERR_ARGUMENT, "take: %lld rows", (long long)n);
    for (int64_t i = 0; i < n; i++) {
        const int64_t row = index ? index[i] : i;
        if (row < 0 || row >= d->rows)
            return nbi_because(why, NB_ERR_INDEX, "take: row %lld, but rows are 0 to %lld",
                               (long long)row, (long long)(d->rows - 1));
    }
    code = nbi_table_new(d, d->label != NULL, n, d->allocator, &t, why);
    if (code)
        return code;
    for (int64_t i = 0; i < n; i++)
        nbi_table_copy(t, i, d, index ? index[i] : i);
    t->d.rows = n;
    *out = &t->d;
    return NB_OK;
}

nb_code nb_one_hot(int64_t n, const int64_t *label, int64_t classes, nb_dtype dtype, void *to,
                   nb_reason *why)
{
    int64_t size;
    if (n < 0 || classes < 1 || (n && (!label || !to)) || __builtin_mul_overflow(n, classes, &size))
        return nbi_because(why, NB_ERR_ARGUMENT, "one-hot: %lld labels, %lld classes", (long long)n,
                           (long long)classes);
    for (int64_t i = 0; i < n; i++)
        if (label[i] < 0 || label[i] >= classes)
            return nbi_because(
                why, NB_ERR_INDEX,
                "one-hot: label %lld in row %lld, but there are %lld classes, from 0",
                (long long)label[i], (long long)(i + 1), (long long)classes);
    for (int64_t i = 0; i < size; i++)
        nbi_set_element(dtype, to, i, i % classes == label[i / classes]);
    return NB_OK;
}
