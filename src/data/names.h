/*
 * A set of texts, numbered from 0 in order of arrival: the names of tensors, the keys of metadata, the
 * levels of a category.
 *
 * A hash table of numbers, never more than half full, probed one place after the other. Names may come
 * from hostile files, so the hash starts from a seed that differs from run to run; nothing that anyone
 * can see depends on it.
 */
#ifndef NABLA_SRC_NAMES_H
#define NABLA_SRC_NAMES_H

#include "base/memory.h"

typedef struct nbi_names {
    nbi_heap *heap;
    nbi_arena texts;
    const char **name; /* [count], in an array of room */
    size_t count, room;
    uint32_t *slot; /* [slots], a power of two: a number + 1, or 0 */
    size_t slots;
    uint64_t seed;
} nbi_names;

void nbi_names_init(nbi_names *n, nbi_heap *heap);
void nbi_names_free(nbi_names *n);
/* The number of a text of so many bytes, or -1. */
int64_t nbi_names_find(const nbi_names *n, const char *text, size_t size);
/* Likewise, adding a copy if it is new; -1 means that there is no memory. */
int64_t nbi_names_add(nbi_names *n, const char *text, size_t size);
/* Numbers the texts anew, in ascending order of their bytes; false if there is no memory. */
bool nbi_names_sort(nbi_names *n);

#endif
