/*
 * The derivatives of functions of many scalars, as graph code; the formulas stand in tape/many.c.
 *
 * Where the derivative is piecewise constant (mean, max, fixed coefficients) the number that the
 * numeric sweep uses is the graph rule too.
 */
#include "diff/many.h"

#include <math.h>
#include <nabla/ops.h>

static nb_var scaled(nb_var g, double c) { return c == 0 ? NB_NONE : c == 1 ? g : nb_mul(g, c); }

/* Of maxout: each piece that attains the maximum takes an equal share. */
static nb_var maxout_product(nb_tape *t, uint32_t i, size_t at, nb_var g)
{
    const size_t all = nbi_operands(t, i), k = t->list[t->hot.args[i].a + all];
    const size_t n = (all - k) / (k + 1), b = k * n, x = b + k;
    nb_var total = NB_NONE;
    if (at < b) {
        double share = nbi_partial_many(t, i, b + at / n);
        return share == 0 ? NB_NONE
                          : nb_chain(nb_mul(g, share), nbi_var(t, nbi_operand(t, i, x + at % n)));
    }
    if (at < x)
        return scaled(g, nbi_partial_many(t, i, at));
    for (size_t j = 0; j < k; j++) {
        double share = nbi_partial_many(t, i, b + j);
        if (share == 0)
            continue;
        nb_var w = nbi_var(t, nbi_operand(t, i, j * n + (at - x)));
        nb_var term = nb_chain(nb_mul(g, share), w);
        total = total.tape ? nb_add(total, term) : term;
    }
    return total;
}

nb_var nbi_many_product(nb_tape *t, uint32_t i, size_t k, nb_var g)
{
    const size_t n = nbi_operands(t, i), half = n / 2;
    const nb_var f = nbi_var(t, i), x = nbi_var(t, nbi_operand(t, i, k));
    const double value = t->hot.cells[i].value;
    switch (t->hot.ops[i]) {
    case NBI_SUM: return g;
    case NBI_DOT: return nb_chain(g, nbi_var(t, nbi_operand(t, i, k < half ? k + half : k - half)));
    case NBI_LOGSUMEXP:
        return isinf(value) ? scaled(g, nbi_partial_many(t, i, k))
                            : nb_chain(g, nb_exp(nb_sub(x, f)));
    case NBI_NORM: return value == 0 ? NB_NONE : nb_chain(g, nb_div(x, f));
    case NBI_MAXOUT: return maxout_product(t, i, k, g);
    case NBI_MEAN:
    case NBI_COMBINE:
    case NBI_MAX:
    case NBI_MIN: return scaled(g, nbi_partial_many(t, i, k));
    default: return NB_NONE; /* a leaf */
    }
}
