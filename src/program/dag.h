/*
 * A program's operations: an expression graph without repetitions.
 *
 * A node is an operation with up to three operands, which are nodes before it: the list is in
 * topological order, as a tape is. Nodes are made by nbi_dag_op alone, which looks before it leaps:
 * equal operations become one node (hash-consing), those of constants a constant, and identities
 * that are exact in IEEE arithmetic are used. So common subexpressions never arise, whoever builds:
 * freezing, differentiation or reading from a file.
 *
 * An operation is a row of the table or one of the few below. Constants are doubles; a program that
 * runs in float rounds them.
 *
 * Failure is sticky: without memory every result is NBI_DAG_NONE, which is an operand like any other and
 * makes a result like it, so that a whole derivation may be written without a test.
 */
#ifndef NABLA_SRC_DAG_H
#define NABLA_SRC_DAG_H

#include "base/memory.h"
#include "table/rows.h"
#include <string.h>

enum nbi_dag_code {
    NBI_DAG_INPUT = NBI_ROWS, /* in[0]: its place among all elements of the inputs, in order */
    NBI_DAG_CONSTANT,         /* in[0], in[1]: the halves of a double */
    NBI_DAG_HOLD,             /* the value of in[0], without a derivative */
    NBI_DAG_CARRY,            /* 0, with derivative 1: how an extreme passes its gradient to ties */
    NBI_DAG_CODES
};

typedef struct nbi_dag_node {
    uint32_t code;
    uint32_t in[3]; /* unused ones are 0 */
} nbi_dag_node;

enum { NBI_DAG_DEPTH = 64 }; /* bodies nest far less deeply */

typedef struct nbi_dag {
    nbi_heap *heap;
    nbi_dag_node *node;
    size_t count, room;
    uint32_t *table; /* open addressing: node + 1, or 0 */
    size_t slots;    /* of the table, a power of two */
    uint8_t expand;  /* NBI_LIGHT, NBI_HEAVY: such rows are made in terms of simpler ones */
    bool failed;
    uint32_t operand[NBI_DAG_DEPTH], depth; /* of bodies of the table under expansion */
} nbi_dag;

#define NBI_DAG_NONE UINT32_MAX

/* Rows by the table's weight. */
enum { NBI_LIGHT = 1, NBI_HEAVY = 2 };

void nbi_dag_open(nbi_dag *d, nbi_heap *heap);
void nbi_dag_close(nbi_dag *d);
/* Room for so many nodes in all. False if there is no memory. */
bool nbi_dag_reserve(nbi_dag *d, size_t room);
uint32_t nbi_dag_op(nbi_dag *d, uint32_t code, uint32_t a, uint32_t b, uint32_t c);
uint32_t nbi_dag_constant(nbi_dag *d, double value);
uint32_t nbi_dag_input(nbi_dag *d, size_t place);
/* How many of a node's in[] are nodes: 0 to 3. */
int nbi_dag_arity(uint32_t code);
const char *nbi_dag_name(uint32_t code); /* "add", "input", "hold", … */

static inline bool nbi_dag_is_constant(const nbi_dag *d, uint32_t i)
{
    return i != NBI_DAG_NONE && d->node[i].code == NBI_DAG_CONSTANT;
}

static inline double nbi_dag_value(const nbi_dag *d, uint32_t constant)
{
    double v;
    memcpy(&v, d->node[constant].in, sizeof v);
    return v;
}

/* Whether node i is the constant v, to the bit. */
static inline bool nbi_dag_is(const nbi_dag *d, uint32_t i, double v)
{
    return nbi_dag_is_constant(d, i) && !memcmp(d->node[i].in, &v, sizeof v);
}

/* The slope of an operation by operand k at operands `in`, where it has this result: nodes expanded from
 * the table. An operand that is a whole-number parameter, and what has no slope, give the constant 0. */
uint32_t nbi_dag_slope(nbi_dag *d, uint32_t code, int k, const uint32_t *in, uint32_t result);
/* The operation in terms of simpler ones, as the table defines it; NBI_DAG_NONE if it is to stand as it
 * is, being of a weight that the graph does not expand, or a primitive. */
uint32_t nbi_dag_expand(nbi_dag *d, uint32_t code, const uint32_t *in);
/* The body of a row that stands only because it begins with a call of a C function of its name: `call`
 * is the node that has what the function gave. */
uint32_t nbi_dag_body(nbi_dag *d, uint32_t code, const uint32_t *in, uint32_t call);
/* NBI_LIGHT or NBI_HEAVY. */
uint8_t nbi_dag_weight(uint32_t row);

#endif
