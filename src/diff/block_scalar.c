/*
 * A block through one scalar node.
 *
 * The local derivatives z are computed once. Going down, each operand k receives g[l] z[k] in every
 * lane l; going up, the node's tangent is the sum over its operands of d[k][l] z[k]. A number that is
 * exactly 0 contributes exactly 0: with z finite the product does so by itself, and only an infinite
 * or NaN derivative needs to look at the lanes one by one. The sums run in the order in which a sweep
 * of one seed forms them, so that each lane is what that sweep gives, to the last bit.
 */
#include "diff/block.h"

#include <math.h>

#define NBI_REAL double
#define NBI_SUFFIX
#include "table/arithmetic.h"

/* The local derivatives of a row by its operands. Expanded from the table: no row is missing. */
static inline void partials(const nb_tape *t, uint32_t i, double *d)
{
    const nbi_cell *c = t->hot.cells;
    const uint32_t a = t->hot.args[i].a, b = t->hot.args[i].b;
    const double r = c[i].value;
    switch (t->hot.ops[i]) {
#define UNARY(name, ...)                        \
    case NBI_OP_##name:                         \
        d[0] = nbi_slope_##name(c[a].value, r); \
        break;
#define BINARY(name, ...)                                                                 \
    case NBI_OP_##name:                                                                   \
        d[0] = nbi_slope_x_##name(c[a].value, c[b].value, r);                             \
        d[1] = nbi_slope_y_##name(c[a].value, c[b].value, r);                             \
        break;                                                                            \
    case NBI_OP_##name##_vc: d[0] = nbi_slope_x_##name(c[a].value, c[b].value, r); break; \
    case NBI_OP_##name##_cv:                                                              \
        d[1] = nbi_slope_y_##name(c[a].value, c[b].value, r);                             \
        break;
#define TERNARY(name, ...)                                                    \
    case NBI_OP_##name: {                                                     \
        const uint32_t *k = t->list + a;                                      \
        const double x = c[k[0]].value, y = c[k[1]].value, z = c[k[2]].value; \
        d[0] = nbi_slope_x_##name(x, y, z, r);                                \
        d[1] = nbi_slope_y_##name(x, y, z, r);                                \
        d[2] = nbi_slope_z_##name(x, y, z, r);                                \
        break;                                                                \
    }
#define TEST(name, ...)
#include "table/table.def"
#undef UNARY
#undef BINARY
#undef TERNARY
#undef TEST
    default: break; /* a leaf has no operands */
    }
}

/* to += g z, lane by lane. */
static inline void add_product(double *restrict to, const double *restrict g, double z)
{
    if (isfinite(z))
        for (int l = 0; l < NBI_LANES; l++)
            to[l] += g[l] * z;
    else
        for (int l = 0; l < NBI_LANES; l++)
            to[l] += g[l] != 0 ? g[l] * z : 0;
}

/* The derivatives of a node: in `few`, or for a function of many scalars in scratch. */
static double *derivatives(nb_tape *t, uint32_t i, size_t n, double *few)
{
    if (t->hot.ops[i] > NBI_SPARE_15) {
        partials(t, i, few);
        return few;
    }
    double *z = n <= SIZE_MAX / sizeof *z ? nbi_scratch(t, n * sizeof *z) : NULL;
    if (z)
        nbi_partials_many(t, i, z);
    else
        nbi_no_memory(t, "a block of derivatives");
    return z;
}

bool nbi_block_reverse_scalar(nbi_block *b, uint32_t i)
{
    const uint32_t *x;
    const size_t n = nbi_block_operands(b->t, i, &x);
    const nbi_spot scratch = b->t->scratch.at;
    double few[3];
    const double *z = n ? derivatives(b->t, i, n, few) : few;
    if (!z)
        return false;
    bool done = true;
    for (size_t k = 0; k < n && done; k++) {
        if (!b->role[x[k]])
            continue;
        double *to = nbi_block_numbers(b, x[k]);
        done = to != NULL;
        if (done)
            add_product(to, b->at[i], z[k]);
    }
    nbi_give_back(&b->t->scratch, scratch);
    return done;
}

bool nbi_block_forward_scalar(nbi_block *b, uint32_t i)
{
    const uint32_t *x;
    const size_t n = nbi_block_operands(b->t, i, &x);
    const nbi_spot scratch = b->t->scratch.at;
    double few[3];
    const double *z = derivatives(b->t, i, n, few);
    double *to = z ? nbi_block_numbers(b, i) : NULL;
    for (size_t k = 0; k < n && to; k++)
        if (b->at[x[k]])
            add_product(to, b->at[x[k]], z[k]);
    nbi_give_back(&b->t->scratch, scratch);
    return to != NULL;
}
