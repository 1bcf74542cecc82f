/*
 * A program's operations: an expression graph without repetitions.
 *
 * A node is an operation with up to three operands, which are nodes before it: the list is in
 * topological order, as a tape is. Nodes are made by nbi_dag_op alone, which looks before it leaps:
 * equal operations become one node (hash-consing), those of constants a constant, and identities
 * that are exact in IEEE arithmetic are used. So common subexpressions never arise, whoever builds:
 * freezing, differentiation and reading from a file.
 *
 * An operation is a row of the table or one of the few below. Constants are doubles; a program run in
 * float rounds them.
 */
#ifndef NABLA_SRC_DAG_H
#define NABLA_SRC_DAG_H

#include <nabla/program.h>
#include "base/memory.h"
#include "table/rows.h"

enum nbi_dag_code {
    NBI_DAG_INPUT = NBI_ROWS, /* in[0]: its place among all elements of the inputs, in order */
    NBI_DAG_CONSTANT,         /* in[0], in[1]: the halves of a double */
    NBI_DAG_HOLD,             /* the value of in[0], without a derivative */
    NBI_DAG_CARRY,            /* 0, with derivative 1: how an extreme passes its gradient to ties */
    NBI_DAG_CODES
};

typedef struct nbi_dag_node {
    uint32_t code;
    uint32_t in[3];
} nbi_dag_node;

typedef struct nbi_dag {
    nbi_heap *heap;
    nbi_dag_node *node;
    size_t count, room;
    uint32_t *table; /* open addressing: node + 1, or 0 */
    size_t slots;    /* of the table, a power of two */
    size_t asked;    /* calls of nbi_dag_op: what would be there without sharing */
    bool failed;     /* no memory, or over 2^32 - 2 nodes: then every result is NBI_DAG_NONE */
} nbi_dag;

#define NBI_DAG_NONE UINT32_MAX

void nbi_dag_open(nbi_dag *d, nbi_heap *heap);
void nbi_dag_close(nbi_dag *d);
uint32_t nbi_dag_op(nbi_dag *d, uint32_t code, uint32_t a, uint32_t b, uint32_t c);
uint32_t nbi_dag_constant(nbi_dag *d, double value);
uint32_t nbi_dag_input(nbi_dag *d, size_t place);
/* 0 to 3: its operands that are nodes */
int nbi_dag_arity(uint32_t code);

static inline bool nbi_dag_is_constant(const nbi_dag *d, uint32_t i)
{
    return d->node[i].code == NBI_DAG_CONSTANT;
}

double nbi_dag_value(const nbi_dag *d, uint32_t constant);
const char *nbi_dag_name(uint32_t code); /* "add", "input", "hold", … */

/* to[k] = adjoint(code's result) * slope by operand k, for the operands wanted: nodes in d, expanded
 * from the table. */
uint32_t nbi_dag_slope(nbi_dag *d, uint32_t code, int k, const uint32_t *in, uint32_t result);

#endif
