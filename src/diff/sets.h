/*
 * Sets of element numbers, shared and never changed: what each number of a graph depends on.
 *
 * A set of few elements is a sorted list. A larger one is the union of two others, by reference: it
 * costs the same whatever it holds, and only when a row is wanted are its elements collected, each
 * part visited once. A union that adds nothing is the set it adds nothing to. So memory grows with
 * the number of unions, never with the sum of the sizes.
 */
#ifndef NABLA_SRC_DIFF_SETS_H
#define NABLA_SRC_DIFF_SETS_H

#include "base/memory.h"

enum { NBI_FEW = 24 };

typedef struct nbi_set {
    uint32_t n;         /* elements of a list; 0: a union */
    uint32_t stamp;     /* of the last collection that came by */
    uint32_t element[]; /* n of them; of a union, in their place, its two parts */
} nbi_set;

typedef struct nbi_sets {
    nbi_arena *arena;
    bool failed; /* no memory: what was made since is wrong */
    uint32_t stamp;
    nbi_set **stack; /* of a collection */
    size_t stack_room;
    uint32_t *seen; /* [elements] the stamp of the collection that found it */
    uint32_t *list; /* [elements] what it found */
} nbi_sets;

/* Room for element numbers below n. */
bool nbi_sets_open(nbi_sets *s, nbi_arena *arena, size_t n);
/* NULL is the empty set. */
nbi_set *nbi_set_of(nbi_sets *s, uint32_t element);
nbi_set *nbi_set_union(nbi_sets *s, nbi_set *a, nbi_set *b);
/* The elements in ascending order, in s->list; their number. */
size_t nbi_set_collect(nbi_sets *s, nbi_set *a);

#endif
