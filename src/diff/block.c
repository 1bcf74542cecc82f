/*
 * The block: which nodes take part, where their lanes are, and the walk. block.h tells the idea.
 *
 * Let R be the set of nodes that some input leads to, the inputs included, and B the set of those
 * that lead to some output. A path from an input to an output runs in the intersection of R and B,
 * and every node there is on one. R is found going up the tape, a node at a time by its operands; B
 * going down from the outputs, and only within R; the first consumer met on the way is a node's
 * last.
 */
#include "diff/block_walk.h"

#include <math.h>

/* ---- which nodes take part ------------------------------------------------------------------- */

static void mark_up(nbi_block *b, size_t n_in, const nb_var *in)
{
    const nb_tape *t = b->t;
    for (size_t k = 0; k < n_in; k++)
        if (in[k].index <= b->high && !nbi_still(t, in[k].index)) {
            b->role[in[k].index] = NBI_ON;
            b->low = in[k].index < b->low ? in[k].index : b->low;
        }
    for (uint32_t i = b->low; i <= b->high; i++) {
        const uint32_t *x;
        size_t n = b->role[i] ? 0 : nbi_ways(t, i, &x);
        for (size_t k = 0; k < n && !b->role[i]; k++)
            b->role[i] = b->role[x[k]];
    }
}

/* Leaves ON only what leads to an output. Here NBI_ASKED means: does so. Whether there are records
 * among that. */
static bool mark_down(nbi_block *b, size_t n_out, const nb_var *out)
{
    bool records = false;
    for (size_t k = 0; k < n_out; k++)
        if (b->role[out[k].index])
            b->role[out[k].index] = NBI_ASKED;
    for (uint32_t i = b->high + 1; i-- > b->low;) {
        const uint32_t *x;
        size_t n = b->role[i] == NBI_ASKED ? nbi_ways(b->t, i, &x) : 0;
        b->role[i] = b->role[i] == NBI_ASKED ? NBI_ON : NBI_OFF;
        records = records || (n && b->t->hot.ops[i] == NBI_RECORD);
        for (size_t k = 0; k < n; k++) {
            if (b->role[x[k]])
                b->role[x[k]] = NBI_ASKED;
            if (b->last && !b->last[x[k]])
                b->last[x[k]] = i;
        }
    }
    return records;
}

static void *zeros(nb_tape *t, size_t n, size_t width)
{
    void *p = n <= SIZE_MAX / width ? nbi_scratch(t, n * width) : NULL;
    return p ? memset(p, 0, n * width) : NULL;
}

nb_code nbi_block_open(nbi_block *b, const char *what, nb_tape *t, bool forward, size_t n_out,
                       const nb_var *out, size_t n_in, const nb_var *in)
{
    *b = (nbi_block){.t = t, .what = what, .forward = forward, .scratch = t->scratch.at};
    for (size_t k = 0; k < n_out; k++)
        b->high = out[k].index > b->high ? out[k].index : b->high;
    const size_t n = (size_t)b->high + 1;
    b->low = b->high + 1;
    b->role = zeros(t, n, sizeof *b->role);
    b->full = zeros(t, n, sizeof *b->full);
    b->at = zeros(t, n, sizeof *b->at);
    b->last = forward ? zeros(t, n, sizeof *b->last) : NULL;
    bool done = b->role && b->full && b->at && (!forward || b->last);
    if (done) {
        mark_up(b, n_in, in);
        if (mark_down(b, n_out, out) && forward)
            done = (b->tangent = zeros(t, n, sizeof *b->tangent)) != NULL;
    }
    if (!done) {
        nbi_give_back(&t->scratch, b->scratch);
        return nbi_no_memory(t, what);
    }
    const nb_var *asked = forward ? out : in;
    for (size_t k = 0; k < (forward ? n_out : n_in); k++)
        if (asked[k].index <= b->high && b->role[asked[k].index])
            b->role[asked[k].index] = NBI_ASKED;
    return NB_OK;
}

/* ---- lanes ----------------------------------------------------------------------------------- */

static const size_t number_bytes = NBI_LANES * sizeof(double);

/* More spare lanes. */
static bool refill(nbi_block *b)
{
    for (int k = 0; k < 8; k++) {
        double *p = nbi_buffer(b->t, number_bytes);
        if (!p)
            return false;
        memcpy(p, &b->spare, sizeof b->spare);
        b->spare = p;
        b->n_spare++;
    }
    return true;
}

double *nbi_block_numbers(nbi_block *b, uint32_t i)
{
    double *p = b->at[i];
    if (p || (!b->spare && !refill(b)))
        return p;
    b->at[i] = p = b->spare;
    memcpy(&b->spare, p, sizeof b->spare);
    b->n_spare--;
    return memset(p, 0, number_bytes);
}

static bool array_bytes(const nbi_block *b, uint32_t i, size_t *bytes)
{
    const size_t size = (size_t)nbi_record_at(b->t, i)->size * nbi_element(b->t->dtype);
    return !__builtin_mul_overflow(size, b->lanes, bytes);
}

void *nbi_block_arrays(nbi_block *b, uint32_t i)
{
    size_t bytes;
    if (b->at[i])
        return b->at[i];
    if (!array_bytes(b, i, &bytes))
        nbi_no_memory(b->t, b->what);
    else
        b->at[i] = nbi_buffer(b->t, bytes);
    return b->at[i];
}

nb_array nbi_block_lane(const nbi_block *b, uint32_t i, size_t l)
{
    const nbi_record *r = nbi_record_at(b->t, i);
    char *data = (char *)b->at[i] + l * (size_t)r->size * nbi_element(b->t->dtype);
    return (nb_array){data, r->dims, r->size, r->rank, b->t->dtype};
}

nb_array nbi_block_stack(nbi_block *b, uint32_t i, size_t first, size_t count, int64_t *dims,
                         bool *add)
{
    const nbi_mask mask = (nbi_mask)(((1u << count) - 1) << first);
    nb_array a = nbi_block_lane(b, i, first);
    const size_t bytes = (size_t)a.size * nbi_element(a.dtype);
    *add = (b->full[i] & mask) != 0;
    for (size_t l = first; *add && l < first + count; l++)
        if (!(b->full[i] >> l & 1) && bytes)
            memset(nbi_block_lane(b, i, l).data, 0, bytes);
    b->full[i] |= mask;
    dims[0] = (int64_t)count;
    for (int d = 0; d < a.rank; d++)
        dims[d + 1] = a.dims[d];
    return (nb_array){a.data, dims, a.size * (int64_t)count, a.rank + 1, a.dtype};
}

void nbi_block_release(nbi_block *b, uint32_t i)
{
    size_t bytes;
    double *p = b->at[i];
    if (!p)
        return;
    if (!nbi_is_tensor(b->t, i)) {
        memcpy(p, &b->spare, sizeof b->spare);
        b->spare = p;
        b->n_spare++;
    } else if (array_bytes(b, i, &bytes)) {
        nbi_buffer_release(b->t, p, bytes);
    }
    b->at[i] = NULL;
    b->full[i] = 0;
}

nbi_mask nbi_block_active(const nbi_block *b, uint32_t i)
{
    const double *p = b->at[i];
    unsigned active = 0;
    if (!p || nbi_is_tensor(b->t, i))
        return b->full[i];
    for (unsigned l = 0; l < NBI_LANES; l++)
        active |= (unsigned)(p[l] != 0) << l;
    return (nbi_mask)active;
}

/* ---- a sweep --------------------------------------------------------------------------------- */

void nbi_block_begin(nbi_block *b, size_t lanes) { b->lanes = lanes; }

void nbi_block_end(nbi_block *b)
{
    for (uint32_t i = b->low; i <= b->high; i++)
        nbi_block_release(b, i);
}

void nbi_block_close(nbi_block *b)
{
    nbi_block_end(b);
    while (b->spare) {
        double *p = b->spare;
        memcpy(&b->spare, p, sizeof b->spare);
        nbi_buffer_release(b->t, p, number_bytes);
    }
    nbi_give_back(&b->t->scratch, b->scratch);
}

nb_code nbi_block_seed_one(nbi_block *b, nb_var x, size_t lane, int64_t element, double d)
{
    const uint32_t i = x.index;
    if (i > b->high || !b->role[i])
        return NB_OK;
    if (!nbi_is_tensor(b->t, i)) {
        double *to = nbi_block_numbers(b, i);
        if (to)
            to[lane] += d;
        return to ? NB_OK : b->t->code;
    }
    if (!nbi_block_arrays(b, i))
        return b->t->code;
    const nb_array a = nbi_block_lane(b, i, lane);
    if (!(b->full[i] >> lane & 1))
        memset(a.data, 0, (size_t)a.size * nbi_element(a.dtype));
    b->full[i] |= (nbi_mask)(1u << lane);
    if (a.dtype == NB_F64)
        ((double *)a.data)[element] += d;
    else
        ((float *)a.data)[element] += (float)d;
    return NB_OK;
}

nb_code nbi_block_seed(nbi_block *b, nb_var x, size_t lane, const double *d)
{
    const int64_t n = nb_size(x);
    nb_code code = NB_OK;
    for (int64_t j = 0; j < n && code == NB_OK; j++)
        code = nbi_block_seed_one(b, x, lane, j, d[j]);
    return code;
}

void nbi_block_read(const nbi_block *b, nb_var x, size_t lane, double *to, size_t step)
{
    const uint32_t i = x.index;
    const bool held = i <= b->high && b->at[i];
    if (!nbi_is_tensor(b->t, i)) {
        *to = held ? ((const double *)b->at[i])[lane] : 0;
        return;
    }
    const size_t n = (size_t)nbi_record_at(b->t, i)->size;
    for (size_t j = 0; j < n; j++)
        to[j * step] = nbi_block_number(b, x, lane, j);
}

/* In anomaly mode: whether all that node i holds is finite; else an error that names it. */
static bool all_finite(const nbi_block *b, uint32_t i)
{
    const bool tensor = nbi_is_tensor(b->t, i);
    const size_t size = tensor ? (size_t)nbi_record_at(b->t, i)->size : 1;
    const bool wide = !tensor || b->t->dtype == NB_F64;
    for (size_t l = 0; l < b->lanes; l++)
        for (size_t j = 0; j < size && (!tensor || b->full[i] >> l & 1); j++) {
            const size_t at = l * size + j;
            if (isfinite(wide ? ((double *)b->at[i])[at] : (double)((float *)b->at[i])[at]))
                continue;
            nbi_anomaly(b->t, i,
                        b->forward ? "the tangent is not finite" : "the gradient is not finite");
            return false;
        }
    return true;
}

static nbi_walk_fn *walk_of(const nbi_block *b)
{
#if defined(__x86_64__)
    if (b->t->isa == NBI_ISA_AVX512)
        return b->forward ? nbi_walk_up_avx512 : nbi_walk_down_avx512;
    if (b->t->isa == NBI_ISA_AVX2)
        return b->forward ? nbi_walk_up_avx2 : nbi_walk_down_avx2;
#endif
    return b->forward ? nbi_walk_up_plain : nbi_walk_down_plain;
}

static bool is_row(const nbi_block *b, uint32_t i) { return b->t->hot.ops[i] > NBI_SPARE_15; }

/* Node i, which is no row and has lanes. */
static bool reverse_other(nbi_block *b, uint32_t i)
{
    const uint8_t op = b->t->hot.ops[i];
    const bool done = op == NBI_RECORD ? nbi_block_reverse_record(b, i)
                      : op >= NBI_SUM  ? nbi_block_reverse_many(b, i)
                                       : true;
    if (done && b->role[i] != NBI_ASKED && !nbi_block_waits(b, i))
        nbi_block_release(b, i);
    return done;
}

/* In anomaly mode the walk goes by single nodes. */
static bool reverse(nbi_block *b)
{
    nbi_walk_fn *walk = walk_of(b);
    for (uint32_t i = b->high + 1; i > b->low;) {
        if (b->t->anomaly && b->at[i - 1] && !all_finite(b, i - 1))
            return false;
        if (b->n_spare < 3 && !refill(b))
            return false;
        const uint32_t from = i;
        i = walk(b, from, b->t->anomaly ? from - 1 : b->low);
        if (b->t->anomaly && i < from)
            continue;
        if (i > b->low && b->at[i - 1] && !is_row(b, i - 1) && !reverse_other(b, --i))
            return false;
    }
    return true;
}

/* Node i, which is no row and takes part. */
static bool forward_other(nbi_block *b, uint32_t i)
{
    const uint32_t *x;
    const size_t n = nbi_ways(b->t, i, &x);
    bool some = false;
    for (size_t k = 0; k < n; k++)
        some = some || b->at[x[k]];
    if (some && !(b->t->hot.ops[i] == NBI_RECORD ? nbi_block_forward_record(b, i)
                                                 : nbi_block_forward_many(b, i)))
        return false;
    nbi_ways(b->t, i, &x); /* a record's rule may have moved them */
    for (size_t k = 0; k < n; k++)
        if (b->last[x[k]] == i && b->role[x[k]] != NBI_ASKED)
            nbi_block_release(b, x[k]);
    return true;
}

static bool forward(nbi_block *b)
{
    nbi_walk_fn *walk = walk_of(b);
    for (uint32_t i = b->low; i <= b->high;) {
        if (!b->n_spare && !refill(b))
            return false;
        const uint32_t from = i;
        i = walk(b, from, b->t->anomaly ? from + 1 : b->high + 1);
        if (i <= b->high && b->role[i] && !is_row(b, i) && !forward_other(b, i++))
            return false;
        for (uint32_t k = from; b->t->anomaly && k < i; k++)
            if (b->at[k] && !all_finite(b, k))
                return false;
    }
    return true;
}

nb_code nbi_block_run(nbi_block *b)
{
    return (b->forward ? forward(b) : reverse(b)) ? NB_OK : b->t->code;
}
