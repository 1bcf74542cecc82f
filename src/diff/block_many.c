/*
 * A block through one function of many scalars; its derivatives are computed once.
 */
#include "diff/block.h"

#include <math.h>

/* to += g z, lane by lane; 0 contributes 0. */
static void add_product(double *to, const double *g, double z)
{
    for (int l = 0; l < NBI_LANES; l++)
        to[l] += g[l] != 0 ? g[l] * z : 0;
}

/* The derivatives of node i by all its operands, in scratch. */
static double *derivatives(nb_tape *t, uint32_t i, size_t n)
{
    double *z = n <= SIZE_MAX / sizeof *z ? nbi_scratch(t, n * sizeof *z) : NULL;
    if (z)
        nbi_partials_many(t, i, z);
    else
        nbi_no_memory(t, "a block of derivatives");
    return z;
}

bool nbi_block_reverse_many(nbi_block *b, uint32_t i)
{
    const uint32_t *x;
    const size_t n = nbi_ways(b->t, i, &x);
    const nbi_spot scratch = b->t->scratch.at;
    const double *z = derivatives(b->t, i, n);
    bool done = z != NULL;
    for (size_t k = 0; k < n && done; k++) {
        double *to = b->role[x[k]] ? nbi_block_numbers(b, x[k]) : NULL;
        done = to || !b->role[x[k]];
        if (to)
            add_product(to, b->at[i], z[k]);
    }
    nbi_give_back(&b->t->scratch, scratch);
    return done;
}

bool nbi_block_forward_many(nbi_block *b, uint32_t i)
{
    const uint32_t *x;
    const size_t n = nbi_ways(b->t, i, &x);
    const nbi_spot scratch = b->t->scratch.at;
    const double *z = derivatives(b->t, i, n);
    double *to = z ? nbi_block_numbers(b, i) : NULL;
    for (size_t k = 0; k < n && to; k++)
        if (b->at[x[k]])
            add_product(to, b->at[x[k]], z[k]);
    nbi_give_back(&b->t->scratch, scratch);
    return to != NULL;
}
