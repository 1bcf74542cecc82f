/*
 * Memory: one hook, counted and capped, and arenas on top of it.
 *
 * A heap is the caller's allocator with an account: how many bytes are out, and how many may be.
 * An arena is a list of chunks with a pointer that moves up. Taking memory is an addition; giving it
 * back is setting the pointer to an earlier spot. Chunks are kept when the pointer moves down, so
 * that a loop which takes the same memory in each round asks the heap in the first round only.
 */
#ifndef NABLA_SRC_MEMORY_H
#define NABLA_SRC_MEMORY_H

#include <nabla/base.h>

typedef struct nbi_heap {
    nb_allocator allocator;
    size_t used, cap; /* cap 0: none */
    bool capped;      /* the last failure was the cap's, not the allocator's */
} nbi_heap;

void nbi_heap_init(nbi_heap *h, const nb_allocator *a, size_t cap);
/* As nb_allocator.resize; NULL when the allocator or the cap refuses. */
void *nbi_resize(nbi_heap *h, void *p, size_t old_size, size_t new_size);

typedef struct nbi_chunk {
    struct nbi_chunk *next;
    size_t size; /* of the whole block, this header included */
} nbi_chunk;

/* A place in an arena: everything taken since can be given back. */
typedef struct nbi_spot {
    nbi_chunk *chunk;
    size_t used;
} nbi_spot;

typedef struct nbi_arena {
    nbi_heap *heap;
    nbi_chunk *first;
    nbi_spot at;
    size_t next_size; /* of the next chunk */
    size_t whole;     /* of all chunks */
} nbi_arena;

enum { NBI_ALIGN = 64 }; /* of arrays: a cache line, and the widest vector */

void nbi_arena_init(nbi_arena *a, nbi_heap *h, size_t first_size);
void nbi_arena_free(nbi_arena *a);
/* The start of a later chunk, or of a new one, with room for bytes. */
void *nbi_take_elsewhere(nbi_arena *a, size_t bytes, size_t align);

/* Where in chunk c, after `used`, bytes fit; 0 if they do not. */
static inline size_t nbi_fit(const nbi_chunk *c, size_t used, size_t bytes, size_t align)
{
    uintptr_t base = (uintptr_t)c, start = (base + used + align - 1) & ~(uintptr_t)(align - 1);
    size_t offset = start - base;
    return offset <= c->size && bytes <= c->size - offset ? offset : 0;
}

/* align is a power of two, at most NBI_ALIGN. NULL when there is no memory. */
static inline void *nbi_take(nbi_arena *a, size_t bytes, size_t align)
{
    nbi_chunk *c = a->at.chunk;
    size_t offset = c ? nbi_fit(c, a->at.used, bytes, align) : 0;
    if (!offset)
        return nbi_take_elsewhere(a, bytes, align);
    a->at.used = offset + bytes;
    return (char *)c + offset;
}

void nbi_give_back(nbi_arena *a, nbi_spot to);
void nbi_give_back_all(nbi_arena *a);
/* Bytes below the pointer, what did not fit at the ends of chunks included. */
size_t nbi_arena_used(const nbi_arena *a);

#endif
