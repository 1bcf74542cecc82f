/*
 * A block through a row of the table on tensors, in one go.
 *
 * With r = f(x1, x2, ..) elementwise and s_k the array of its slopes by operand k, in the shape of
 * r,
 *
 *     reverse   dx_k[l]  +=  g[l] s_k, summed where x_k stretched
 *     forward   dr[l]  =  sum over k of dx_k[l] s_k
 *
 * for all lanes l. The slopes are computed once: they are what the reverse kernel gives for an
 * adjoint of ones. With the lanes as a leading axis, along which s_k stretches, the products are
 * one elementwise product (of the row `chain`, for which exactly 0 times anything is 0) and the
 * sums one reduction.
 */
#include "diff/block.h"

#include "kernels/elementwise.h"
#include "ops/elementwise.h"

/* A row with a block under way. */
typedef struct pass {
    nbi_block *b;
    const nbi_record *r;
    enum nbi_row row;
    nb_array in[3], out, slope, product; /* product [count, the dims of out] */
    void *ones;
    int64_t dims[NB_MAX_RANK];
    size_t count; /* lanes */
} pass;

bool nbi_block_is_row(const nbi_record *r)
{
    return r->op >= nbi_row_ops && r->op < nbi_row_ops + NBI_ROWS && r->op->reverse_arrays &&
           r->rank >= 0 && r->rank < NB_MAX_RANK;
}

static bool open_pass(pass *p, nbi_block *b, uint32_t i, size_t count, float *rounded)
{
    nb_tape *t = b->t;
    p->b = b;
    p->r = nbi_record_at(t, i);
    p->row = (enum nbi_row)(p->r->op - nbi_row_ops);
    p->count = count;
    p->out = p->slope = p->product = nbi_array_of(t, i, rounded);
    for (size_t k = 0; k < p->r->n_in; k++)
        p->in[k] = nbi_array_of(t, p->r->in[k], &rounded[k]);
    const size_t bytes = (size_t)p->out.size * nbi_element(t->dtype);
    size_t all;
    p->product.dims = p->dims;
    p->product.size *= (int64_t)count; /* fits, as the lanes of the node do */
    p->product.rank++;
    p->dims[0] = (int64_t)count;
    for (int d = 0; d < p->out.rank; d++)
        p->dims[d + 1] = p->out.dims[d];
    p->slope.data = nbi_scratch(t, bytes);
    p->ones = nbi_scratch(t, bytes);
    p->product.data = __builtin_mul_overflow(bytes, count, &all) ? NULL : nbi_scratch(t, all);
    if (!p->slope.data || !p->ones || !p->product.data)
        return nbi_no_memory(t, p->r->op->name), false;
    for (int64_t j = 0; j < p->out.size; j++)
        if (t->dtype == NB_F64)
            ((double *)p->ones)[j] = 1;
        else
            ((float *)p->ones)[j] = 1;
    return true;
}

/* The slopes by operand k. */
static void find_slopes(pass *p, size_t k)
{
    nb_array ones = p->out;
    ones.data = p->ones;
    nbi_row_reverse(&p->b->t->crew, p->b->t->rows, p->row, k, p->r->n_in, p->in, &p->out, &ones,
                    &p->slope, false);
}

/* out = lanes times slopes, out in the shape of the product. */
static void times_slopes(const pass *p, nb_array lanes, void *out)
{
    nb_array to = p->product, two[2] = {lanes, p->slope};
    to.data = out;
    nbi_row_forward(&p->b->t->crew, p->b->t->rows, NBI_ROW_chain, 2, two, &to);
}

static void add_product(const pass *p, void *to)
{
    nb_array sum = p->product, two[2] = {sum, sum};
    sum.data = two[0].data = to;
    nbi_row_forward(&p->b->t->crew, p->b->t->rows, NBI_ROW_add, 2, two, &sum);
}

/* The dims of lanes of an array of rank `rank`, lined up with those of the product. */
static void line_up(const pass *p, int rank, const int64_t *of, int64_t *dims)
{
    dims[0] = (int64_t)p->count;
    for (int d = 0; d < p->out.rank; d++)
        dims[d + 1] = d < p->out.rank - rank ? 1 : of[d - (p->out.rank - rank)];
}

/* ---- backward -------------------------------------------------------------------------------- */

/* Sums the product into the numbers of scalar node x. */
static bool give_number(pass *p, uint32_t x, size_t first)
{
    double sums[NBI_LANES] = {0}, *to = nbi_block_numbers(p->b, x);
    int64_t dims[NB_MAX_RANK];
    line_up(p, 0, NULL, dims);
    nb_array a = {sums, dims, (int64_t)p->count, p->product.rank, NB_F64};
    nbi_reduce_into(&p->b->t->crew, &p->product, &a, false);
    for (size_t l = 0; to && l < p->count; l++)
        to[first + l] += sums[l];
    return to != NULL;
}

static bool give(pass *p, size_t k, const nb_array *g, size_t first)
{
    const uint32_t x = p->r->in[k];
    int64_t dims[NB_MAX_RANK + 1];
    bool add;
    find_slopes(p, k);
    if (p->in[k].rank < 0) {
        times_slopes(p, *g, p->product.data);
        return give_number(p, x, first);
    }
    if (!nbi_block_arrays(p->b, x))
        return false;
    nb_array to = nbi_block_stack(p->b, x, first, p->count, dims, &add);
    if (p->in[k].size == p->out.size && !add) {
        times_slopes(p, *g, to.data);
        return true;
    }
    times_slopes(p, *g, p->product.data);
    if (p->in[k].size == p->out.size) {
        add_product(p, to.data);
        return true;
    }
    line_up(p, p->in[k].rank, p->in[k].dims, dims);
    to.rank = p->product.rank;
    nbi_reduce_into(&p->b->t->crew, &p->product, &to, add);
    return true;
}

bool nbi_block_reverse_row(nbi_block *b, uint32_t i, size_t first, size_t count)
{
    const nbi_spot scratch = b->t->scratch.at;
    int64_t dims[NB_MAX_RANK + 1];
    float rounded[3];
    bool add;
    pass p;
    bool done = open_pass(&p, b, i, count, rounded);
    const nb_array g = nbi_block_stack(b, i, first, count, dims, &add);
    for (size_t k = 0; done && k < p.r->n_in && g.size; k++)
        done = !b->role[p.r->in[k]] || give(&p, k, &g, first);
    nbi_give_back(&b->t->scratch, scratch);
    return done;
}

/* ---- forward --------------------------------------------------------------------------------- */

/* All lanes of operand k, in the tape's dtype; numbers of a scalar go to `number`. */
static nb_array lanes_of(pass *p, size_t k, double *number, int64_t *dims)
{
    const uint32_t x = p->r->in[k];
    bool add;
    if (p->in[k].rank >= 0) {
        nb_array a = nbi_block_stack(p->b, x, 0, p->count, dims, &add);
        line_up(p, p->in[k].rank, p->in[k].dims, dims);
        a.rank = p->product.rank;
        return a;
    }
    line_up(p, 0, NULL, dims);
    for (size_t l = 0; l < p->count; l++)
        if (p->product.dtype == NB_F64)
            number[l] = ((double *)p->b->at[x])[l];
        else
            ((float *)number)[l] = (float)((double *)p->b->at[x])[l];
    return (nb_array){number, dims, (int64_t)p->count, p->product.rank, p->product.dtype};
}

bool nbi_block_forward_row(nbi_block *b, uint32_t i)
{
    const nbi_spot scratch = b->t->scratch.at;
    int64_t dims[2][NB_MAX_RANK + 1];
    float rounded[3];
    double number[NBI_LANES];
    pass p;
    bool done = nbi_block_arrays(b, i) && open_pass(&p, b, i, b->lanes, rounded);
    for (size_t k = 0; done && k < p.r->n_in && p.out.size; k++) {
        const uint32_t x = p.r->in[k];
        if (!b->at[x] || (p.in[k].rank >= 0 && !b->full[x]))
            continue;
        bool add;
        find_slopes(&p, k);
        const nb_array d = lanes_of(&p, k, number, dims[0]);
        nb_array to = nbi_block_stack(b, i, 0, b->lanes, dims[1], &add);
        times_slopes(&p, d, add ? p.product.data : to.data);
        if (add)
            add_product(&p, to.data);
    }
    nbi_give_back(&b->t->scratch, scratch);
    return done;
}
