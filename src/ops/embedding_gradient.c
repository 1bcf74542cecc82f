/*
 * Embedding by lookup in a table too large to have a gradient.
 *
 * A lookup touches few of the table's rows. So what is recorded is not the table but those rows: the
 * indices are sorted, each row that occurs is copied once into an input of its own,
 *
 *     rows [u width] = table[touched[0 … u)],        touched ascending
 *     out [shape… width] = embedding of rows by the indices' places in touched
 *
 * and everything costs what the touched rows cost: memory, the sweep, and the gradient, which is the
 * input's. As that is an ordinary input and embedding an ordinary operation, all that holds for those
 * holds here: a second sweep changes nothing, sweeps accumulate, derivatives of any order exist.
 *
 * What a table's lookups received is then put together: the union of their rows, ascending, and for
 * each row the sum over the lookups in the order of recording, taken in double. The lookups are found
 * by the chain of nodes that a rewind looks at, so they are forgotten with their nodes and the table
 * itself holds nothing.
 */
#include "tape/tape.h"
#include <nabla/net.h>
#include <nabla/ops.h>

/* The state of the input that holds a lookup's rows. */
typedef struct lookup {
    const nb_sparse_table *table;
    const int64_t *touched; /* as many as the input has rows */
} lookup;

/* ---- sets of rows ---------------------------------------------------------------------------- */

static void merge(const int64_t *a, int64_t m, int64_t n, int64_t *to)
{
    for (int64_t i = 0, j = m, k = 0; k < n; k++)
        to[k] = i < m && (j == n || a[i] <= a[j]) ? a[i++] : a[j++];
}

/* Sorts a and drops repetitions; spare has room for n. How many are left; they stand in a. */
static int64_t set_of(int64_t *a, int64_t *spare, int64_t n)
{
    int64_t *from = a, *to = spare, u = 0;
    for (int64_t run = 1; run < n; run *= 2) {
        for (int64_t i = 0; i < n; i += 2 * run) {
            const int64_t left = n - i;
            merge(from + i, left < run ? left : run, left < 2 * run ? left : 2 * run, to + i);
        }
        int64_t *swap = from;
        from = to, to = swap;
    }
    for (int64_t i = 0; i < n; i++)
        if (u == 0 || from[i] != a[u - 1])
            a[u++] = from[i]; /* from may be a: u never passes i */
    return u;
}

static int64_t place_of(const int64_t *set, int64_t n, int64_t x)
{
    int64_t low = 0;
    while (n > 1) {
        const int64_t half = n / 2;
        low += set[low + half] <= x ? half : 0;
        n -= half;
    }
    return low;
}

/* ---- looking up ------------------------------------------------------------------------------ */

static bool check(nb_tape *t, const nb_sparse_table *table, nb_shape shape, const int64_t *index)
{
    if (!table || table->rows < 0 || table->width < 0 ||
        nb_shape_size(NB_SHAPE(table->rows, table->width)) < 0 ||
        (!table->data && table->rows && table->width))
        return nbi_fail(t, NB_ERR_ARGUMENT,
                        "embedding_sparse: the table, its data or its size is invalid"),
               false;
    const int64_t n = shape.rank < 0 || shape.rank >= NB_MAX_RANK ? -1 : nb_shape_size(shape);
    if (n < 0 || (uint64_t)n > SIZE_MAX / sizeof *index)
        return nbi_fail(t, NB_ERR_SHAPE,
                        "embedding_sparse: the indices have %d dimensions; 0 to %d are possible, "
                        "none of them negative",
                        shape.rank, NB_MAX_RANK - 1),
               false;
    if (n && !index)
        return nbi_fail(t, NB_ERR_ARGUMENT, "embedding_sparse: the indices are NULL"), false;
    for (int64_t i = 0; i < n; i++)
        if (index[i] < -table->rows || index[i] >= table->rows)
            return nbi_fail(t, NB_ERR_INDEX,
                            "embedding_sparse: index %lld at place %lld, the table has %lld rows",
                            (long long)index[i], (long long)i, (long long)table->rows),
                   false;
    return true;
}

/* The input that holds the touched rows; its state must outlive it, so it is taken first. */
static nbi_record *gather(nb_tape *t, const nb_sparse_table *table, const int64_t *set, int64_t u,
                          nb_var *rows)
{
    const size_t bytes = (size_t)table->width * nbi_element(t->dtype);
    lookup *s = nbi_take(&t->values, sizeof *s, _Alignof(lookup));
    int64_t *touched = nbi_take(&t->values, (size_t)u * sizeof *touched, _Alignof(int64_t));
    if (!s || !touched)
        return nbi_no_memory(t, "embedding_sparse"), NULL;
    nbi_record *r = nbi_leaf(t, NB_SHAPE(u, table->width), NULL, false, rows);
    for (int64_t i = 0; r && i < u; i++) {
        touched[i] = set[i];
        if (bytes)
            memcpy((char *)r->data + (size_t)i * bytes,
                   (const char *)table->data + (size_t)set[i] * bytes, bytes);
    }
    *s = (lookup){table, touched};
    if (r)
        r->state = s;
    return r;
}

static nb_var look_up(nb_tape *t, const nb_sparse_table *table, nb_shape shape,
                      const int64_t *index)
{
    const int64_t n = nb_shape_size(shape);
    int64_t *set = nbi_scratch(t, (size_t)n * sizeof *set);
    int64_t *place = nbi_scratch(t, (size_t)n * sizeof *place);
    nb_var rows;
    if (!set || !place)
        return nbi_no_memory(t, "embedding_sparse"), nbi_inert(t);
    for (int64_t i = 0; i < n; i++)
        set[i] = index[i] < 0 ? index[i] + table->rows : index[i];
    const int64_t u = set_of(set, place, n);
    nbi_record *r = gather(t, table, set, u, &rows);
    if (!r)
        return nbi_inert(t);
    for (int64_t i = 0; i < n; i++)
        place[i] = place_of(set, u, index[i] < 0 ? index[i] + table->rows : index[i]);
    nb_var out = nb_embedding(rows, shape, place);
    if (nb_ok(out)) {
        r->older = t->attention;
        t->attention = rows.index;
    }
    return out;
}

nb_var nb_embedding_sparse(nb_tape *t, const nb_sparse_table *table, nb_shape shape,
                           const int64_t *index)
{
    if (!t)
        return NB_NONE;
    if (!check(t, table, shape, index))
        return nbi_inert(t);
    const nb_mark before = nbi_mark(t);
    const nbi_spot scratch = t->scratch.at;
    nb_var out = look_up(t, table, shape, index);
    nbi_give_back(&t->scratch, scratch);
    if (!nb_ok(out))
        nbi_truncate(t, &before);
    return out;
}

/* ---- what the lookups received --------------------------------------------------------------- */

/* The next lookup of the table, from node *i of the chain on, that the last sweep reached. */
static const nbi_record *next(const nb_tape *t, const nb_sparse_table *table, uint32_t *i)
{
    while (*i != NBI_INERT) {
        const uint32_t at = *i;
        const nbi_record *r = nbi_record_at(t, at);
        *i = r->older;
        if (r->leaf && !r->borrowed && r->grad && t->hot.cells[at].adjoint != 0 &&
            ((const lookup *)r->state)->table == table)
            return r;
    }
    return NULL;
}

/* sum [u width] += the lookup's gradient, at its rows' places among the union's. */
static void add_rows(nb_dtype d, const nbi_record *r, const int64_t *rows, double *sum)
{
    const int64_t *touched = ((const lookup *)r->state)->touched, width = r->dims[1];
    for (int64_t i = 0, at = 0; i < r->dims[0]; i++) {
        while (rows[at] != touched[i])
            at++;
        for (int64_t j = 0; j < width; j++)
            sum[at * width + j] += d == NB_F64 ? ((const double *)r->grad)[i * width + j]
                                               : (double)((const float *)r->grad)[i * width + j];
    }
}

/* Puts together the n lookups in list, youngest first, which touch so many rows in all. */
static nb_code unite(nb_tape *t, const nb_sparse_table *table, size_t n,
                     const nbi_record *const *list, int64_t total, nb_sparse_rows *out)
{
    const size_t element = nbi_element(t->dtype);
    int64_t *rows = nbi_take(&t->marks, (size_t)total * sizeof *rows, NBI_ALIGN);
    int64_t *spare = nbi_scratch(t, (size_t)total * sizeof *spare), at = 0;
    if (!rows || !spare)
        return nbi_no_memory(t, "sparse_grad");
    for (size_t k = 0; k < n; k++)
        for (int64_t i = 0; i < list[k]->dims[0]; i++)
            rows[at++] = ((const lookup *)list[k]->state)->touched[i];
    const int64_t u = set_of(rows, spare, total);
    const size_t size = (size_t)(u * table->width); /* no more than the lookups' sizes together */
    void *values = nbi_take(&t->marks, size * element, NBI_ALIGN);
    double *sum = nbi_scratch(t, size * sizeof *sum);
    if (!values || !sum)
        return nbi_no_memory(t, "sparse_grad");
    memset(sum, 0, size * sizeof *sum);
    for (size_t k = n; k-- > 0;)
        add_rows(t->dtype, list[k], rows, sum);
    for (size_t i = 0; i < size; i++)
        if (t->dtype == NB_F64)
            ((double *)values)[i] = sum[i];
        else
            ((float *)values)[i] = (float)sum[i];
    *out = (nb_sparse_rows){u, rows, values};
    return NB_OK;
}

nb_code nb_sparse_grad(nb_tape *t, const nb_sparse_table *table, nb_sparse_rows *out)
{
    size_t n = 0;
    int64_t total = 0;
    if (!t || !table || !out)
        return NB_ERR_ARGUMENT;
    *out = (nb_sparse_rows){0, NULL, NULL};
    const nbi_record *r, *only = NULL, **list;
    for (uint32_t i = t->attention; (r = next(t, table, &i)); n++)
        only = r, total += r->dims[0];
    if (n == 0)
        return NB_OK;
    if (n == 1) {
        *out = (nb_sparse_rows){total, ((const lookup *)only->state)->touched, only->grad};
        return NB_OK;
    }
    const nbi_spot scratch = t->scratch.at;
    list = nbi_scratch(t, n * sizeof *list);
    n = 0;
    for (uint32_t i = t->attention; list && (r = next(t, table, &i));)
        list[n++] = r;
    nb_code code = list ? unite(t, table, n, list, total, out) : nbi_no_memory(t, "sparse_grad");
    nbi_give_back(&t->scratch, scratch);
    return code;
}
