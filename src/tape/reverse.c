/*
 * The backward sweep: pathwise aggregation by dynamic programming.
 *
 * Let z(i, j) be the local derivative of node j by its operand i. The derivative of an output o by a
 * node i is the sum over all paths from i to o of the products of the z along the path; there are
 * exponentially many paths, but
 *
 *     S(o, o) = 1,     S(i, o) = sum over the consumers j of i of  S(j, o) z(i, j)
 *
 * computes the sum in one visit per node, because the tape is in topological order: walking it
 * down, all consumers of i have been visited when i is. The adjoint of node i is S(i, o); visiting i
 * adds S(i, o) z(k, i) to that of each operand k. A node that no path reaches has adjoint 0 and
 * passes nothing on; nor does an adjoint that is exactly 0, even through an infinite derivative.
 *
 * The walk is bound by the time a number takes through memory: chains are common, and the adjoint
 * that node i adds to node i - 1 is the one needed next. So it stays in a register (`below`), which
 * halves the time of a chain.
 */
#include "tape/tape.h"

#define NBI_REAL double
#define NBI_SUFFIX
#include "table/arithmetic.h"

#define ALWAYS_INLINE static inline __attribute__((always_inline))

/* What the walk holds in registers. */
typedef struct walk {
    nbi_cell *cells;
    const nbi_args *args;
    const uint8_t *ops, *wanted;
    uint32_t i;
    double below; /* the adjoint of node i - 1 so far */
} walk;

ALWAYS_INLINE void give(walk *w, uint32_t k, double d, bool masked)
{
    if (masked && !w->wanted[k])
        return;
    if (k == w->i - 1)
        w->below += d;
    else
        w->cells[k].adjoint += d;
}

/* A row of three operands that stand in the list; constants among them get nothing. */
ALWAYS_INLINE void give3(walk *w, const nb_tape *t, double g, const uint32_t *k, double dx,
                         double dy, double dz, bool masked)
{
    const double d[3] = {dx, dy, dz};
    for (int j = 0; j < 3; j++)
        if (!nbi_still(t, k[j]))
            give(w, k[j], g * d[j], masked);
}

/* Passes g, the adjoint of scalar row node i, on. Expanded from the table: no row is missing. */
ALWAYS_INLINE void visit(walk *w, const nb_tape *t, double g, bool masked)
{
    const uint32_t i = w->i, a = w->args[i].a, b = w->args[i].b;
    const nbi_cell *c = w->cells;
    const double r = c[i].value;
    switch (w->ops[i]) {
#define UNARY(name, ...)                                        \
    case NBI_OP_##name:                                         \
        give(w, a, g *nbi_slope_##name(c[a].value, r), masked); \
        break;
#define BINARY(name, ...)                                                     \
    case NBI_OP_##name: {                                                     \
        const double x = c[a].value, y = c[b].value;                          \
        give(w, a, g *nbi_slope_x_##name(x, y, r), masked);                   \
        give(w, b, g *nbi_slope_y_##name(x, y, r), masked);                   \
        break;                                                                \
    }                                                                         \
    case NBI_OP_##name##_vc:                                                  \
        give(w, a, g *nbi_slope_x_##name(c[a].value, c[b].value, r), masked); \
        break;                                                                \
    case NBI_OP_##name##_cv:                                                  \
        give(w, b, g *nbi_slope_y_##name(c[a].value, c[b].value, r), masked); \
        break;
#define TERNARY(name, ...)                                                                \
    case NBI_OP_##name: {                                                                 \
        const uint32_t *k = t->list + a;                                                  \
        const double x = c[k[0]].value, y = c[k[1]].value, z = c[k[2]].value;             \
        give3(w, t, g, k, nbi_slope_x_##name(x, y, z, r), nbi_slope_y_##name(x, y, z, r), \
              nbi_slope_z_##name(x, y, z, r), masked);                                    \
        break;                                                                            \
    }
#define TEST(name, ...)
#include "table/table.def"
#undef UNARY
#undef BINARY
#undef TERNARY
#undef TEST
    default: break; /* leaves and still nodes pass nothing on; the others are not rows */
    }
}

ALWAYS_INLINE void load(walk *w, nb_tape *t)
{
    w->cells = t->hot.cells;
    w->args = t->hot.args;
    w->ops = t->hot.ops;
}

/* The walk over nodes from `from` down to `to`. */
ALWAYS_INLINE bool sweep(nb_tape *t, uint32_t from, uint32_t to, const uint8_t *wanted, bool masked)
{
    walk w = {.wanted = wanted, .i = from};
    load(&w, t);
    double g = w.cells[from].adjoint;
    for (;; w.i--) {
        const uint32_t i = w.i;
        w.below = i ? w.cells[i - 1].adjoint : 0;
        w.cells[i].adjoint = g;
        if (g != 0) {
            const uint8_t op = w.ops[i];
            if (op >= NBI_RECORD && op < NBI_SPARE_13) {
                bool done = true; /* these see memory only, and may move the cells */
                if (op == NBI_RECORD)
                    done = nbi_reverse_record(t, i, wanted);
                else
                    nbi_reverse_many(t, i, g, wanted);
                if (!done)
                    return false;
                load(&w, t);
                w.below = i ? w.cells[i - 1].adjoint : 0;
            } else {
                visit(&w, t, g, masked);
            }
        }
        if (i == to)
            break;
        g = w.below;
    }
    if (to)
        w.cells[to - 1].adjoint = w.below;
    return true;
}

bool nbi_sweep(nb_tape *t, uint32_t from, uint32_t to, const uint8_t *wanted)
{
    return wanted ? sweep(t, from, to, wanted, true) : sweep(t, from, to, NULL, false);
}
