/*
 * The graph that execution and printing start from.
 *
 * The program's graph is rewritten into a plain one: rows that are made of others are expanded, so that
 * values and slopes share their parts; holds vanish, a carry is -0, which vanishes in its sum. Then
 * quotients by a common divisor, or by a uniform one, become products with its reciprocal, unless the
 * program is strict. (The last digit may change; and a divisor below 1e-308 has no reciprocal.)
 */
#ifndef NABLA_SRC_PLAIN_H
#define NABLA_SRC_PLAIN_H

#include "program/program.h"

typedef struct nbi_plain {
    const nb_program *p;
    nbi_dag d;                /* may hold nodes that nobody needs */
    uint32_t *result, *guard; /* as the program's */
} nbi_plain;

/* Rows of the weights given are expanded; `shared`, a flag per input argument, says which are uniform.
 * False if there is no memory: there is something to free all the same. */
bool nbi_plain_make(nbi_plain *w, const nb_program *p, nbi_heap *heap, uint8_t weights,
                    const uint8_t *shared);
void nbi_plain_free(nbi_plain *w);

#endif
