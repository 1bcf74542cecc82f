/*
 * Splits and folds. Both come from one order of the rows: shuffled, and for stratified ones sorted by
 * class after that, without disturbing the shuffled order within a class.
 *
 * Folds deal the rows of that order out like cards, so sizes differ by at most one; in a sorted order the
 * cards of each class lie together, and so the same holds for each class.
 *
 * A split that wants w of n rows walks along that order and takes a row whenever another n-th of w is
 * complete: w rows in all, spread evenly, so that each class gives its share to within one row.
 */
#include "data/dataset.h"

#include "base/reason.h"
#include "data/order.h"

#include <math.h>
#include <string.h>

void nb_shuffle(nb_rng *r, int64_t n, int64_t *index)
{
    for (int64_t i = n - 1; i > 0; i--) {
        const int64_t j = (int64_t)nb_rng_below(r, (uint64_t)i + 1), swapped = index[i];
        index[i] = index[j];
        index[j] = swapped;
    }
}

typedef struct rows {
    nbi_heap heap;
    int64_t n, *order, *place, *take; /* [n] each: the order, its inverse, and room */
    const int64_t *label;
} rows;

static bool by_class(const void *context, int64_t i, int64_t j)
{
    const rows *r = context;
    return r->label[i] != r->label[j] ? r->label[i] < r->label[j] : r->place[i] < r->place[j];
}

static nb_code order_rows(rows *r, const nb_dataset *d, bool stratified, uint64_t seed,
                          nb_reason *why)
{
    size_t bytes;
    *r = (rows){.n = d->rows, .label = d->label};
    if (stratified && !d->label)
        return nbi_because(why, NB_ERR_ARGUMENT, "split: stratified, but there are no labels");
    nbi_heap_init(&r->heap, d->allocator, 0);
    if (!__builtin_mul_overflow((size_t)d->rows, 3 * sizeof *r->order, &bytes))
        r->order = nbi_resize(&r->heap, NULL, 0, bytes);
    if (!r->order)
        return nbi_because(why, NB_ERR_MEMORY, "split: no memory");
    r->place = r->order + r->n;
    r->take = r->place + r->n;
    nb_rng rng = nb_rng_seed(seed);
    for (int64_t i = 0; i < r->n; i++)
        r->order[i] = i;
    nb_shuffle(&rng, r->n, r->order);
    for (int64_t i = 0; i < r->n; i++)
        r->place[r->order[i]] = i;
    if (stratified)
        nbi_heapsort(r->n, r->order, by_class, r);
    return NB_OK;
}

static void free_rows(rows *r)
{
    nbi_resize(&r->heap, r->order, r->order ? (size_t)r->n * 3 * sizeof *r->order : 0, 0);
}

/* Copies the rows marked `which`, in shuffled order. */
static nb_code take_marked(rows *r, const nb_dataset *d, int64_t which, nb_dataset **out,
                           nb_reason *why)
{
    int64_t n = 0, *index = r->order;
    for (int64_t i = 0; i < r->n; i++)
        index[r->place[i]] = i;
    for (int64_t i = 0; i < r->n; i++) /* never ahead of what is read */
        if (r->take[index[i]] == which)
            index[n++] = index[i];
    return nb_dataset_take(d, n, index, out, why);
}

static nb_code take_both(rows *r, const nb_dataset *d, int64_t which, nb_dataset **rest,
                         nb_dataset **part, nb_reason *why)
{
    nb_code code = take_marked(r, d, which, part, why);
    for (int64_t i = 0; i < r->n; i++)
        r->take[i] = r->take[i] == which;
    if (!code)
        code = take_marked(r, d, 0, rest, why);
    if (code) {
        nb_dataset_free(*part);
        *part = NULL;
    }
    return code;
}

nb_code nb_dataset_split(const nb_dataset *d, double share, bool stratified, uint64_t seed,
                         nb_dataset **rest, nb_dataset **part, nb_reason *why)
{
    rows r;
    if (!rest || !part)
        return nbi_because(why, NB_ERR_ARGUMENT, "split: nowhere to put the parts");
    *rest = *part = NULL;
    nb_code code = nbi_dataset_sane(d, why);
    if (code)
        return code;
    if (!(share > 0 && share < 1))
        return nbi_because(why, NB_ERR_ARGUMENT,
                           "split: the share is %g, and must lie between 0 and 1", share);
    /* a product that is whole may be an ulp above */
    const int64_t wanted = (int64_t)ceil(share * (double)d->rows * (1 - 1e-12));
    if (wanted < 1 || wanted >= d->rows)
        return nbi_because(why, NB_ERR_EMPTY,
                           "split: a share of %g of %lld rows leaves one part empty", share,
                           (long long)d->rows);
    code = order_rows(&r, d, stratified, seed, why);
    if (code)
        return code;
    for (int64_t i = 0, sum = 0; i < r.n; i++) {
        sum += wanted;
        r.take[r.order[i]] = sum >= r.n;
        sum -= sum >= r.n ? r.n : 0;
    }
    code = take_both(&r, d, 1, rest, part, why);
    free_rows(&r);
    return code;
}

/* ---- folds ----------------------------------------------------------------------------------- */

nb_code nb_dataset_folds(const nb_dataset *d, int64_t k, bool stratified, uint64_t seed,
                         int64_t *fold, nb_reason *why)
{
    rows r;
    nb_code code = nbi_dataset_sane(d, why);
    if (code)
        return code;
    if (!fold || k < 2 || k > d->rows)
        return nbi_because(why, NB_ERR_ARGUMENT, "folds: %lld folds of %lld rows", (long long)k,
                           (long long)d->rows);
    code = order_rows(&r, d, stratified, seed, why);
    if (code)
        return code;
    for (int64_t i = 0; i < r.n; i++)
        fold[r.order[i]] = i % k;
    free_rows(&r);
    return NB_OK;
}

nb_code nb_dataset_fold(const nb_dataset *d, const int64_t *fold, int64_t i, nb_dataset **rest,
                        nb_dataset **part, nb_reason *why)
{
    if (!rest || !part)
        return nbi_because(why, NB_ERR_ARGUMENT, "fold: nowhere to put the parts");
    *rest = *part = NULL;
    nb_code code = nbi_dataset_sane(d, why);
    if (code)
        return code;
    int64_t inside = 0;
    for (int64_t j = 0; fold && j < d->rows; j++)
        inside += fold[j] == i;
    if (!inside || inside == d->rows)
        return nbi_because(why, NB_ERR_EMPTY, "fold %lld: it has %lld of %lld rows", (long long)i,
                           (long long)inside, (long long)d->rows);
    rows r = {.n = d->rows};
    nbi_heap_init(&r.heap, d->allocator, 0);
    r.order = nbi_resize(&r.heap, NULL, 0, (size_t)r.n * 3 * sizeof *r.order);
    if (!r.order)
        return nbi_because(why, NB_ERR_MEMORY, "fold: no memory");
    r.place = r.order + r.n;
    r.take = r.place + r.n;
    for (int64_t j = 0; j < r.n; j++) {
        r.place[j] = j;
        r.take[j] = fold[j];
    }
    code = take_both(&r, d, i, rest, part, why);
    free_rows(&r);
    return code;
}
