/*
 * Functions of many scalars as expression graph.
 *
 * Sums run in the order in which the tape forms them. Three functions need care at their hard points:
 *
 *     logsumexp   m + log sum exp(a_i),  a_i = x_i - m, but 0 where x_i = m: so ties at infinity count 1 each.
 *                 m, the maximum, cancels out of the derivative and is held; a_i passes x_i's derivative by
 *                 a carry. At m = -inf the value is m, without a gradient.
 *     norm        s sqrt(sum (x_i / s)^2), s = max |x_i| held; at 0 it is 0, without a gradient
 *     max, min    m, held, plus a carry of the mean of those x_i that are equal to it
 */
#include "program/freeze.h"

#include <math.h>

static uint32_t op2(nbi_freeze *f, uint32_t code, uint32_t a, uint32_t b)
{
    return nbi_dag_op(&f->p->dag, code, a, b, 0);
}

static uint32_t op1(nbi_freeze *f, uint32_t code, uint32_t a) { return op2(f, code, a, 0); }

static uint32_t number(nbi_freeze *f, double v) { return nbi_dag_constant(&f->p->dag, v); }

static uint32_t where(nbi_freeze *f, uint32_t c, uint32_t a, uint32_t b)
{
    return nbi_dag_op(&f->p->dag, NBI_ROW_where, c, a, b);
}

/* Folds a list by a row; x is not empty. */
static uint32_t fold(nbi_freeze *f, uint32_t row, size_t n, const uint32_t *x)
{
    uint32_t s = x[0];
    for (size_t k = 1; k < n; k++)
        s = op2(f, row, s, x[k]);
    return s;
}

static uint32_t products(nbi_freeze *f, size_t n, const uint32_t *x, const uint32_t *y)
{
    uint32_t s = number(f, -0.0);
    for (size_t k = 0; k < n; k++)
        s = op2(f, NBI_ROW_add, s, op2(f, NBI_ROW_mul, x[k], y[k]));
    return s;
}

static uint32_t logsumexp(nbi_freeze *f, size_t n, const uint32_t *x)
{
    const uint32_t m = op1(f, NBI_DAG_HOLD, fold(f, NBI_ROW_max, n, x)), zero = number(f, 0);
    uint32_t s = number(f, -0.0);
    for (size_t k = 0; k < n; k++) {
        const uint32_t tie = op2(f, NBI_ROW_eq, x[k], m);
        const uint32_t a = where(f, tie, zero, op2(f, NBI_ROW_sub, x[k], m));
        const uint32_t held = op1(f, NBI_DAG_HOLD, a), carry = op1(f, NBI_DAG_CARRY, x[k]);
        const uint32_t carried = op2(f, NBI_ROW_add, held, carry);
        s = op2(f, NBI_ROW_add, s, op1(f, NBI_ROW_exp, carried));
    }
    const uint32_t v = op2(f, NBI_ROW_add, m, op1(f, NBI_ROW_log, s));
    return where(f, op2(f, NBI_ROW_ne, m, number(f, -(double)INFINITY)), v, m);
}

static uint32_t norm(nbi_freeze *f, size_t n, const uint32_t *x)
{
    const uint32_t zero = number(f, 0);
    uint32_t m = op1(f, NBI_ROW_abs, x[0]), s = number(f, -0.0);
    for (size_t k = 1; k < n; k++)
        m = op2(f, NBI_ROW_max, m, op1(f, NBI_ROW_abs, x[k]));
    m = op1(f, NBI_DAG_HOLD, m);
    const uint32_t infinite = number(f, (double)INFINITY), above = op2(f, NBI_ROW_gt, m, zero);
    const uint32_t below = op2(f, NBI_ROW_lt, m, infinite);
    const uint32_t ordinary = op2(f, NBI_ROW_mul, above, below);
    const uint32_t scale = where(f, ordinary, m, number(f, 1));
    for (size_t k = 0; k < n; k++) {
        const uint32_t u = op2(f, NBI_ROW_div, x[k], scale);
        s = op2(f, NBI_ROW_add, s, op2(f, NBI_ROW_mul, u, u));
    }
    const uint32_t v = op2(f, NBI_ROW_mul, scale, op1(f, NBI_ROW_sqrt, s));
    return where(f, op2(f, NBI_ROW_eq, m, zero), zero, v);
}

/* row is max or min. Of two, the row itself splits a tie as it should be. */
static uint32_t extreme(nbi_freeze *f, uint32_t row, size_t n, const uint32_t *x)
{
    if (n < 3)
        return fold(f, row, n, x);
    const uint32_t m = op1(f, NBI_DAG_HOLD, fold(f, row, n, x));
    uint32_t ties = number(f, -0.0), s = number(f, -0.0);
    for (size_t k = 0; k < n; k++) {
        const uint32_t tie = op2(f, NBI_ROW_eq, x[k], m);
        ties = op2(f, NBI_ROW_add, ties, tie);
        s = op2(f, NBI_ROW_add, s, op2(f, NBI_ROW_chain, tie, x[k]));
    }
    const uint32_t mean = op2(f, NBI_ROW_div, s, op1(f, NBI_DAG_HOLD, ties));
    return op2(f, NBI_ROW_add, m, op1(f, NBI_DAG_CARRY, mean));
}

/* w [pieces n], b [pieces], x [n] */
static uint32_t maxout(nbi_freeze *f, size_t pieces, size_t n, uint32_t *x)
{
    for (size_t j = 0; j < pieces; j++) {
        uint32_t s = x[pieces * n + j];
        for (size_t i = 0; i < n; i++)
            s = op2(f, NBI_ROW_add, s, op2(f, NBI_ROW_mul, x[j * n + i], x[pieces * (n + 1) + i]));
        x[pieces * n + j] = s;
    }
    return extreme(f, NBI_ROW_max, pieces, x + pieces * n);
}

static uint32_t combine(nbi_freeze *f, size_t n, const uint32_t *x, const uint32_t *words)
{
    uint32_t s = number(f, -0.0);
    for (size_t k = 0; k < n; k++) {
        double c;
        memcpy(&c, words + 2 * k, sizeof c);
        s = op2(f, NBI_ROW_add, s, op2(f, NBI_ROW_mul, number(f, c), x[k]));
    }
    return s;
}

static uint32_t build(nbi_freeze *f, uint8_t op, size_t n, uint32_t *x, const uint32_t *behind)
{
    uint32_t sum;
    switch (op) {
    case NBI_SUM: return n ? fold(f, NBI_ROW_add, n, x) : number(f, 0);
    case NBI_MEAN:
        sum = n ? fold(f, NBI_ROW_add, n, x) : number(f, 0);
        return op2(f, NBI_ROW_div, sum, number(f, (double)n));
    case NBI_DOT: return n ? products(f, n / 2, x, x + n / 2) : number(f, 0);
    case NBI_COMBINE: return n ? combine(f, n, x, behind) : number(f, 0);
    case NBI_LOGSUMEXP: return n ? logsumexp(f, n, x) : number(f, -(double)INFINITY);
    case NBI_NORM: return n ? norm(f, n, x) : number(f, 0);
    case NBI_MAX: return extreme(f, NBI_ROW_max, n, x);
    case NBI_MIN: return extreme(f, NBI_ROW_min, n, x);
    default: return maxout(f, behind[0], (n - behind[0]) / (behind[0] + 1), x);
    }
}

uint32_t nbi_freeze_many(nbi_freeze *f, uint32_t i)
{
    const size_t n = nbi_operands(f->t, i);
    const nbi_args a = f->t->hot.args[i];
    uint32_t *x = nbi_resize(&f->p->heap, NULL, 0, n * sizeof *x), v = NBI_DAG_NONE;
    bool done = x || !n;
    for (size_t k = 0; done && k < n; k++) {
        x[k] = nbi_freeze_operand(f, nbi_operand(f->t, i, k));
        done = x[k] != NBI_DAG_NONE;
    }
    if (done)
        v = build(f, f->t->hot.ops[i], n, x, f->t->list + a.a + n);
    nbi_resize(&f->p->heap, x, n * sizeof *x, 0);
    return nbi_still(f->t, i) ? nbi_dag_op(&f->p->dag, NBI_DAG_HOLD, v, 0, 0) : v;
}
