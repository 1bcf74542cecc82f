/*
 * The table of derivatives as expression graph.
 *
 * A body in table.def, expanded with nodes for numbers, is a function from nodes to a node. Slopes are
 * expanded when a program is differentiated. Values are expanded, just before a program is laid out for
 * execution, where a row is heavy and made of other rows: sigmoid is a quotient of exponentials, and so
 * is its slope, which is thus found to need the same exponential. Where a program is printed as C, light
 * rows are, too. The body of a primitive calls a C function or is an operator: it stands for itself.
 */
#include "program/dag.h"

#include "ops/elementwise.h"
#include <math.h>

#include "table/operations.h"
#define NBI_OP1(name, a)       nbi_dag_op(graph, NBI_ROW_##name, a, 0, 0)
#define NBI_OP2(name, a, b)    (push(graph, a), push(graph, b), apply(graph, NBI_ROW_##name, 2))
#define NBI_OP3(name, a, b, c) \
    (push(graph, a), push(graph, b), push(graph, c), apply(graph, NBI_ROW_##name, 3))
#define K(c)                   nbi_dag_constant(graph, (double)(c))
#define LET(name, expression)  const uint32_t name = expression;
#define RETURN(expression)     return expression;
#define SELECT(c, a, b)        NBI_OP3(where, c, a, b)
/* a primitive in the middle of a body (cbrt's own) keeps the whole row as it is, unless r is known: what
 * it gives */
#define CALL1(f, a)       r
#define CALL2(f, a, b)    r
#define CALL3(f, a, b, c) r
#define INFIX(a, op, b)   NBI_DAG_NONE
#define PREFIX(op, a)     NBI_DAG_NONE

/* C leaves the order of arguments to the compiler, and nodes are numbered as they are made: so that a program
 * is the same whoever compiled the library, operands are put down one by one, first to last. */
static void push(nbi_dag *d, uint32_t operand)
{
    if (d->depth < NBI_DAG_DEPTH)
        d->operand[d->depth++] = operand;
    else
        d->failed = true;
}

static uint32_t apply(nbi_dag *d, uint32_t code, uint32_t arity)
{
    uint32_t in[3] = {0};
    if (d->depth < arity)
        return NBI_DAG_NONE;
    d->depth -= arity;
    memcpy(in, d->operand + d->depth, arity * sizeof *in);
    return nbi_dag_op(d, code, in[0], in[1], in[2]);
}

typedef uint32_t body_fn(nbi_dag *graph, const uint32_t *in, uint32_t r);

/* Macros that hold whole functions, which a formatter cannot tell apart */
/* clang-format off */

#define BODY(name, letter, text) \
    static uint32_t letter##_##name(nbi_dag *graph, const uint32_t *in, uint32_t r) \
    { OPERANDS (void)graph, (void)r; text }

#define OPERANDS const uint32_t x = in[0]; (void)x;
#define UNARY(name, weight, k, a, b, text, value, dx) BODY(name, slope_x, dx) BODY(name, whole, value)
#define BINARY(name, ...)
#define TERNARY(name, ...)
#define TEST(name, ...)
#include "table/table.def"
#undef UNARY
#undef BINARY
#undef OPERANDS

#define OPERANDS const uint32_t x = in[0], y = in[1]; (void)x, (void)y;
#define UNARY(name, ...)
#define BINARY(name, weight, k, a, b, c, d_, text, value, dx, dy) \
    BODY(name, slope_x, dx) BODY(name, slope_y, dy) BODY(name, whole, value)
#include "table/table.def"
#undef BINARY
#undef TERNARY
#undef OPERANDS

#define OPERANDS const uint32_t x = in[0], y = in[1], z = in[2]; (void)x, (void)y, (void)z;
#define BINARY(name, ...)
#define TERNARY(name, weight, k, a, b, c, d_, e, f, text, value, dx, dy, dz) \
    BODY(name, slope_x, dx) BODY(name, slope_y, dy) BODY(name, slope_z, dz) BODY(name, whole, value)
#include "table/table.def"
#undef UNARY
#undef BINARY
#undef TERNARY
#undef OPERANDS
#include "table/operations.h"

#define UNARY(name, ...)   [NBI_ROW_##name] = {slope_x_##name},
#define BINARY(name, ...)  [NBI_ROW_##name] = {slope_x_##name, slope_y_##name},
#define TERNARY(name, ...) [NBI_ROW_##name] = {slope_x_##name, slope_y_##name, slope_z_##name},
static body_fn *const slopes[NBI_ROWS][3] = {
#include "table/table.def"
};
#undef UNARY
#undef BINARY
#undef TERNARY

#define UNARY(name, weight, ...)   [NBI_ROW_##name] = whole_##name,
#define BINARY(name, weight, ...)  [NBI_ROW_##name] = whole_##name,
#define TERNARY(name, weight, ...) [NBI_ROW_##name] = whole_##name,
static body_fn *const values[NBI_ROWS] = {
#include "table/table.def"
};
#undef UNARY
#undef BINARY
#undef TERNARY
#undef TEST

#define UNARY(name, weight, ...)   [NBI_ROW_##name] = NBI_##weight,
#define BINARY(name, weight, ...)  [NBI_ROW_##name] = NBI_##weight,
#define TERNARY(name, weight, ...) [NBI_ROW_##name] = NBI_##weight,
#define TEST(name, ...)            [NBI_ROW_##name] = NBI_LIGHT,
static const uint8_t weights[NBI_ROWS] = {
#include "table/table.def"
};
#undef UNARY
#undef BINARY
#undef TERNARY
#undef TEST
/* clang-format on */

uint32_t nbi_dag_slope(nbi_dag *d, uint32_t code, int k, const uint32_t *in, uint32_t result)
{
    if (code == NBI_DAG_CARRY)
        return nbi_dag_constant(d, 1);
    if (code >= NBI_ROWS || !slopes[code][k] || d->failed)
        return nbi_dag_constant(d, 0);
    const double *range = &nbi_rows[code].range[2 * (size_t)k];
    return range[0] == range[1] ? nbi_dag_constant(d, 0) : slopes[code][k](d, in, result);
}

uint8_t nbi_dag_weight(uint32_t row) { return weights[row]; }

/* The bodies of `where` and `recip` say what they are by themselves, and the chain rule's product is one
 * operation wherever programs are executed. */
uint32_t nbi_dag_expand(nbi_dag *d, uint32_t code, const uint32_t *in)
{
    if (code >= NBI_ROWS || !(weights[code] & d->expand) || code == NBI_ROW_where ||
        code == NBI_ROW_recip || code == NBI_ROW_chain)
        return NBI_DAG_NONE;
    return nbi_dag_body(d, code, in, NBI_DAG_NONE);
}

uint32_t nbi_dag_body(nbi_dag *d, uint32_t code, const uint32_t *in, uint32_t call)
{
    return values[code] && !d->failed ? values[code](d, in, call) : NBI_DAG_NONE;
}
