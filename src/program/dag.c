/*
 * Building an expression graph; dag.h says what it is.
 *
 * The identities below give the very number that the operation gives, for every operand (up to the
 * payload of a NaN): x + -0, x - 0, x 1, x / 1 are x; two negations are none; a negation moves out of
 * a product, and into a sum as a difference. x + 0 is not x (for -0), nor is x - x zero (for NaN),
 * and so they stand. One spelling per meaning helps equal terms meet: x^2 is x x, 1 / x is recip x,
 * sums and products have their operands in order.
 *
 * The product of the chain rule, chain(g, s), is 0 where g is; where g is a constant, or s a finite
 * one, that is what a plain product gives.
 */
#include "program/dag.h"

#include "ops/elementwise.h"
#include <math.h>

enum { FIRST_ROOM = 64 };

void nbi_dag_open(nbi_dag *d, nbi_heap *heap) { *d = (nbi_dag){.heap = heap}; }

void nbi_dag_close(nbi_dag *d)
{
    nbi_resize(d->heap, d->node, d->room * sizeof *d->node, 0);
    nbi_resize(d->heap, d->table, d->slots * sizeof *d->table, 0);
    *d = (nbi_dag){.heap = d->heap};
}

int nbi_dag_arity(uint32_t code)
{
    if (code < NBI_ROWS)
        return nbi_rows[code].arity;
    return code == NBI_DAG_HOLD || code == NBI_DAG_CARRY;
}

const char *nbi_dag_name(uint32_t code)
{
    static const char *const names[] = {"input", "constant", "hold", "carry"};
    return code < NBI_ROWS ? nbi_rows[code].name : names[code - NBI_ROWS];
}

/* ---- the table of nodes ---------------------------------------------------------------------- */

static size_t hash(const nbi_dag_node *n)
{
    uint64_t h = ((uint64_t)n->in[1] << 32 | n->in[0]) * 0x9e3779b97f4a7c15u;
    h ^= ((uint64_t)n->in[2] << 16 ^ n->code) * 0xff51afd7ed558ccdu;
    h ^= h >> 29;
    return (size_t)(h * 0xbf58476d1ce4e5b9u >> 16);
}

/* Where the node stands, or would. */
static size_t find(const nbi_dag *d, const nbi_dag_node *n)
{
    size_t s = hash(n) & (d->slots - 1);
    while (d->table[s] && memcmp(&d->node[d->table[s] - 1], n, sizeof *n) != 0)
        s = (s + 1) & (d->slots - 1);
    return s;
}

bool nbi_dag_reserve(nbi_dag *d, size_t room)
{
    if (room <= d->room)
        return true;
    if (room > UINT32_MAX / 4)
        return false;
    size_t slots = 2 * FIRST_ROOM;
    while (slots < 2 * room)
        slots *= 2;
    nbi_dag_node *node = nbi_resize(d->heap, d->node, d->room * sizeof *node, room * sizeof *node);
    if (!node)
        return false;
    d->node = node;
    d->room = room;
    uint32_t *table = nbi_resize(d->heap, NULL, 0, slots * sizeof *table);
    if (!table)
        return false;
    nbi_resize(d->heap, d->table, d->slots * sizeof *table, 0);
    memset(table, 0, slots * sizeof *table);
    d->table = table;
    d->slots = slots;
    for (size_t i = 0; i < d->count; i++)
        d->table[find(d, &d->node[i])] = (uint32_t)i + 1;
    return true;
}

static uint32_t intern(nbi_dag *d, const nbi_dag_node *n)
{
    const bool full = d->count == d->room || 2 * d->count >= d->slots;
    if (d->failed || (full && !nbi_dag_reserve(d, 2 * d->room + FIRST_ROOM))) {
        d->failed = true;
        return NBI_DAG_NONE;
    }
    const size_t s = find(d, n);
    if (!d->table[s]) {
        d->node[d->count++] = *n;
        d->table[s] = (uint32_t)d->count;
    }
    return d->table[s] - 1;
}

uint32_t nbi_dag_constant(nbi_dag *d, double value)
{
    nbi_dag_node n = {.code = NBI_DAG_CONSTANT};
    memcpy(n.in, &value, sizeof value);
    return intern(d, &n);
}

uint32_t nbi_dag_input(nbi_dag *d, size_t place)
{
    if (place >= NBI_DAG_NONE)
        d->failed = true;
    return intern(d, &(nbi_dag_node){.code = NBI_DAG_INPUT, .in = {(uint32_t)place}});
}

/* ---- identities ------------------------------------------------------------------------------ */

static bool is_neg(const nbi_dag *d, uint32_t i) { return d->node[i].code == NBI_ROW_neg; }

static uint32_t op1(nbi_dag *d, uint32_t code, uint32_t a) { return nbi_dag_op(d, code, a, 0, 0); }

static uint32_t op2(nbi_dag *d, uint32_t code, uint32_t a, uint32_t b)
{
    return nbi_dag_op(d, code, a, b, 0);
}

static uint32_t fold_neg(nbi_dag *d, uint32_t a)
{
    return is_neg(d, a) ? d->node[a].in[0] : NBI_DAG_NONE;
}

static uint32_t fold_add(nbi_dag *d, uint32_t a, uint32_t b)
{
    if (nbi_dag_is(d, a, -0.0))
        return b;
    if (nbi_dag_is(d, b, -0.0))
        return a;
    if (is_neg(d, b))
        return op2(d, NBI_ROW_sub, a, d->node[b].in[0]);
    if (is_neg(d, a))
        return op2(d, NBI_ROW_sub, b, d->node[a].in[0]);
    return b < a ? op2(d, NBI_ROW_add, b, a) : NBI_DAG_NONE;
}

static uint32_t fold_sub(nbi_dag *d, uint32_t a, uint32_t b)
{
    if (nbi_dag_is(d, b, 0.0))
        return a;
    return is_neg(d, b) ? op2(d, NBI_ROW_add, a, d->node[b].in[0]) : NBI_DAG_NONE;
}

static uint32_t fold_mul(nbi_dag *d, uint32_t a, uint32_t b)
{
    if (nbi_dag_is(d, a, 1.0))
        return b;
    if (nbi_dag_is(d, b, 1.0))
        return a;
    if (nbi_dag_is(d, a, -1.0))
        return op1(d, NBI_ROW_neg, b);
    if (nbi_dag_is(d, b, -1.0))
        return op1(d, NBI_ROW_neg, a);
    if (is_neg(d, a))
        return op1(d, NBI_ROW_neg, op2(d, NBI_ROW_mul, d->node[a].in[0], b));
    if (is_neg(d, b))
        return op1(d, NBI_ROW_neg, op2(d, NBI_ROW_mul, a, d->node[b].in[0]));
    return b < a ? op2(d, NBI_ROW_mul, b, a) : NBI_DAG_NONE;
}

static uint32_t fold_div(nbi_dag *d, uint32_t a, uint32_t b)
{
    if (nbi_dag_is(d, b, 1.0))
        return a;
    if (nbi_dag_is(d, a, 1.0))
        return op1(d, NBI_ROW_recip, b);
    return is_neg(d, a) ? op1(d, NBI_ROW_neg, op2(d, NBI_ROW_div, d->node[a].in[0], b))
                        : NBI_DAG_NONE;
}

static uint32_t fold_chain(nbi_dag *d, uint32_t a, uint32_t b)
{
    if (nbi_dag_is_constant(d, a))
        return nbi_dag_value(d, a) == 0 ? nbi_dag_constant(d, 0) : op2(d, NBI_ROW_mul, a, b);
    if (nbi_dag_is_constant(d, b) && isfinite(nbi_dag_value(d, b)))
        return op2(d, NBI_ROW_mul, a, b);
    return NBI_DAG_NONE;
}

static uint32_t fold_where(nbi_dag *d, uint32_t c, uint32_t a, uint32_t b)
{
    if (nbi_dag_is_constant(d, c))
        return nbi_dag_value(d, c) != 0 ? a : b;
    return a == b ? a : NBI_DAG_NONE;
}

/* An equal node that is simpler, or NBI_DAG_NONE. */
static uint32_t simpler(nbi_dag *d, uint32_t code, uint32_t a, uint32_t b, uint32_t c)
{
    switch (code) {
    case NBI_ROW_neg: return fold_neg(d, a);
    case NBI_ROW_add: return fold_add(d, a, b);
    case NBI_ROW_sub: return fold_sub(d, a, b);
    case NBI_ROW_mul: return fold_mul(d, a, b);
    case NBI_ROW_div: return fold_div(d, a, b);
    case NBI_ROW_square: return op2(d, NBI_ROW_mul, a, a);
    case NBI_ROW_chain: return fold_chain(d, a, b);
    case NBI_ROW_where: return fold_where(d, a, b, c);
    case NBI_DAG_HOLD:
        return nbi_dag_is_constant(d, a) || d->node[a].code == NBI_DAG_HOLD ? a : NBI_DAG_NONE;
    case NBI_DAG_CARRY: return nbi_dag_is_constant(d, a) ? nbi_dag_constant(d, 0) : NBI_DAG_NONE;
    default: return NBI_DAG_NONE;
    }
}

uint32_t nbi_dag_op(nbi_dag *d, uint32_t code, uint32_t a, uint32_t b, uint32_t c)
{
    const uint32_t in[3] = {a, b, c};
    const int n = nbi_dag_arity(code);
    double v[3];
    bool constant = code < NBI_ROWS;
    for (int k = 0; k < n; k++) {
        if (d->failed || in[k] == NBI_DAG_NONE)
            return NBI_DAG_NONE;
        constant = constant && nbi_dag_is_constant(d, in[k]);
        if (constant)
            v[k] = nbi_dag_value(d, in[k]);
    }
    if (constant)
        return nbi_dag_constant(d, nbi_row_value((enum nbi_row)code, v));
    uint32_t found = simpler(d, code, a, b, c);
    if (found == NBI_DAG_NONE && d->expand)
        found = nbi_dag_expand(d, code, in);
    if (found != NBI_DAG_NONE || d->failed)
        return found;
    nbi_dag_node node = {.code = code};
    memcpy(node.in, in, (size_t)n * sizeof *in);
    return intern(d, &node);
}
