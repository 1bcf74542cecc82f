/*
 * Sorting along an axis, and the k first of the order.
 *
 * For the elements as they stand, a sort is a permutation p of each line, and
 *
 *     y[i] = x[p[i]],        dx[p[i]] = g[i],        ty[i] = tx[p[i]]
 *
 * which is a gather, whose transpose is a scatter; top-k is the same with fewer i. p is constant
 * between ties, so the rules differentiate again as those two operations do.
 *
 * The sort is a merge sort from the bottom up: stable, and n log n whatever the data. A line is
 * copied into pairs of key and place; descending order is ascending order of the negated keys. In a
 * sort NaN comes last. In top-k it comes first, for it may be the extreme one, and must not be
 * lost.
 */
#include "ops/axis.h"
#include "ops/records.h"
#include "kernels/reduce.h"
#include "tape/tape.h"
#include <nabla/ops.h>

typedef struct sorting {
    int axis;
    bool descending, nan_first;
    int64_t k;       /* results per line; -1: all */
    int64_t *order;  /* the caller's, or NULL; not used after the forward rule */
    int64_t *places; /* p, one per element of the result */
} sorting;

typedef struct item {
    double key;
    int64_t place;
} item;

static bool precedes(item a, item b, bool nan_first)
{
    if (a.key != a.key || b.key != b.key)
        return nan_first ? a.key != a.key && b.key == b.key : a.key == a.key && b.key != b.key;
    return a.key < b.key;
}

/* Merges the sorted a[0..m) and a[m..n) into to. */
static void merge(const item *a, int64_t m, int64_t n, item *to, bool nan_first)
{
    for (int64_t i = 0, l = 0, r = m; i < n; i++)
        to[i] = r < n && (l == m || precedes(a[r], a[l], nan_first)) ? a[r++] : a[l++];
}

/* Sorts a[0..n); spare is as large. Returns whichever of the two holds the result. */
static const item *sort_items(item *a, item *spare, int64_t n, bool nan_first)
{
    enum { RUN = 8 };
    for (int64_t from = 0; from < n; from += RUN)
        for (int64_t i = from + 1; i < n && i < from + RUN; i++) {
            item v = a[i];
            int64_t j = i;
            for (; j > from && precedes(v, a[j - 1], nan_first); j--)
                a[j] = a[j - 1];
            a[j] = v;
        }
    for (int64_t run = RUN; run < n; run *= 2) {
        for (int64_t from = 0; from < n; from += 2 * run) {
            int64_t left = n - from;
            merge(a + from, left < run ? left : run, left < 2 * run ? left : 2 * run, spare + from,
                  nan_first);
        }
        item *t = a;
        a = spare;
        spare = t;
    }
    return a;
}

static nb_code sorting_shape(const nb_call *c, nb_shape *out)
{
    sorting *s = c->state;
    if (!nbi_axis(c, &s->axis, c->in[0].rank))
        return NB_ERR_AXIS;
    int64_t n = out->dims[s->axis];
    if (s->k < 0)
        s->k = n;
    if (s->k > n)
        return nb_refuse(c, NB_ERR_ARGUMENT, "k exceeds the axis", "%lld of %lld elements",
                         (long long)s->k, (long long)n);
    out->dims[s->axis] = s->k;
    return NB_OK;
}

static nb_code topk_shape(const nb_call *c, nb_shape *out)
{
    const sorting *s = c->state;
    if (s->k < 0)
        return nb_refuse(c, NB_ERR_ARGUMENT, "k is negative", "k is %lld", (long long)s->k);
    return sorting_shape(c, out);
}

/* One line: x from its first element, y and places from theirs, both with the same distance. */
static void sort_line(const nb_call *c, nbi_split s, int64_t x, int64_t y, item *pairs)
{
    const sorting *o = c->state;
    const nb_dtype d = c->out->dtype;
    for (int64_t i = 0; i < s.n; i++) {
        nbi_get(d, c->in[0].data, x + i * s.inner, 1, &pairs[i].key);
        pairs[i].key = o->descending ? -pairs[i].key : pairs[i].key;
        pairs[i].place = i;
    }
    const item *sorted = sort_items(pairs, pairs + s.n, s.n, o->nan_first);
    for (int64_t i = 0; i < o->k; i++) {
        double v = o->descending ? -sorted[i].key : sorted[i].key;
        nbi_put(d, c->out->data, y + i * s.inner, 1, &v);
        o->places[y + i * s.inner] = sorted[i].place;
    }
}

static nb_code sorting_forward(const nb_call *c)
{
    sorting *o = c->state;
    nbi_split s = nbi_split_at(c->in[0].rank, c->in[0].dims, o->axis);
    size_t bytes, pairs_bytes;
    if (__builtin_mul_overflow((size_t)c->out->size, sizeof(int64_t), &bytes) ||
        __builtin_mul_overflow((size_t)s.n, 2 * sizeof(item), &pairs_bytes))
        return nb_refuse(c, NB_ERR_OVERFLOW, "the order does not fit the address space", NULL);
    o->places = nb_keep(c, bytes);
    item *pairs = nbi_scratch(c->tape, pairs_bytes);
    if (!o->places || !pairs)
        return nbi_no_memory(c->tape, c->op->name);
    for (int64_t i = 0; i < s.outer && c->out->size; i++)
        for (int64_t j = 0; j < s.inner; j++)
            sort_line(c, s, i * s.n * s.inner + j, i * o->k * s.inner + j, pairs);
    if (o->order)
        memcpy(o->order, o->places, bytes);
    o->order = NULL;
    return NB_OK;
}

static nb_code sorting_arrays(const nb_call *c, const nb_array *g, nb_array *const *gin,
                              const bool *add)
{
    const sorting *o = c->state;
    nbi_split s = nbi_split_at(c->in[0].rank, c->in[0].dims, o->axis);
    if (!gin[0])
        return NB_OK;
    if (!add[0])
        memset(gin[0]->data, 0, (size_t)gin[0]->size * nbi_element(gin[0]->dtype));
    for (int64_t i = 0, at = 0; i < s.outer && g->size; i++)
        for (int64_t k = 0; k < o->k; k++)
            for (int64_t j = 0; j < s.inner; j++, at++) {
                int64_t to = (i * s.n + o->places[at]) * s.inner + j;
                if (g->dtype == NB_F64)
                    ((double *)gin[0]->data)[to] += ((const double *)g->data)[at];
                else
                    ((float *)gin[0]->data)[to] += ((const float *)g->data)[at];
            }
    return NB_OK;
}

static nb_code sorting_reverse(const nb_rule *r)
{
    const sorting *o = r->state;
    nb_var zero = nb_zeros(r->tape, nb_shape_of(r->in[0]));
    r->d[0] = nb_scatter_add(zero, o->axis, nb_shape_of(r->out), o->places, r->g);
    return NB_OK;
}

static nb_code sorting_tangent(const nb_rule *r)
{
    const sorting *o = r->state;
    r->d[0] = nb_gather(r->t[0], o->axis, nb_shape_of(r->out), o->places);
    return NB_OK;
}

static nb_var sort_sample(nb_sampler *s, int k)
{
    nb_var x;
    int axis;
    return nbi_axis_sample(s, k, &x, &axis) ? nb_sort(x, axis, k % 2, NULL) : NB_NONE;
}

static nb_var topk_sample(nb_sampler *s, int k)
{
    nb_var x;
    int axis;
    if (!nbi_axis_sample(s, k, &x, &axis))
        return NB_NONE;
    int64_t n = nb_dim(x, axis);
    return nb_topk(x, n < 3 ? n : n - 2, axis, k % 2, NULL);
}

const nb_op nbi_op_sort = {
    .name = "sort",
    .doc = "the elements in order along an axis",
    .shape = sorting_shape,
    .forward = sorting_forward,
    .reverse = sorting_reverse,
    .reverse_arrays = sorting_arrays,
    .overwrites = true,
    .tangent = sorting_tangent,
    .sample = sort_sample,
};

const nb_op nbi_op_topk = {
    .name = "topk",
    .doc = "the k greatest or least elements along an axis, in order",
    .shape = topk_shape,
    .forward = sorting_forward,
    .reverse = sorting_reverse,
    .reverse_arrays = sorting_arrays,
    .overwrites = true,
    .tangent = sorting_tangent,
    .sample = topk_sample,
};

nb_var(nb_sort)(nb_var x, int axis, bool descending, int64_t *order)
{
    sorting s = {axis, descending, false, -1, order, NULL};
    return nb_apply(&nbi_op_sort, 1, &x, &s, sizeof s);
}

nb_var(nb_topk)(nb_var x, int64_t k, int axis, bool largest, int64_t *order)
{
    sorting s = {axis, largest, true, k, order, NULL};
    return nb_apply(&nbi_op_topk, 1, &x, &s, sizeof s);
}
