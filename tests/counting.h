/*
 * An allocator for tests: it counts calls and blocks, holds the caller to the sizes it was told,
 * aligns no better than it must, and refuses the k-th request when asked to.
 */
#ifndef NABLA_TESTS_COUNTING_H
#define NABLA_TESTS_COUNTING_H

#include "run.h"

#include <nabla.h>
#include <stdlib.h>
#include <string.h>

typedef struct counting {
    size_t calls;    /* requests for memory, frees not counted */
    size_t blocks;   /* out at present */
    size_t bytes;    /* in them */
    size_t peak;     /* the most there ever were */
    size_t refuse;   /* the request to refuse; 0: none */
    bool for_ever;   /* and all that follow */
    size_t refusals; /* made so far */
} counting;

enum { COUNTING_HEAD = 16 };

static void *counting_resize(void *ctx, void *p, size_t old_size, size_t new_size)
{
    counting *c = ctx;
    char *block = p ? (char *)p - COUNTING_HEAD : NULL;
    size_t known = 0;
    if (block)
        memcpy(&known, block, sizeof known);
    ck_assert_uint_eq(known, old_size);
    if (!new_size) {
        c->blocks -= block != NULL;
        c->bytes -= known;
        free(block);
        return NULL;
    }
    c->calls++;
    if (c->refuse && (c->calls == c->refuse || (c->for_ever && c->calls > c->refuse))) {
        c->refusals++;
        return NULL;
    }
    char *new = new_size < SIZE_MAX / 4 ? malloc(new_size + COUNTING_HEAD) : NULL;
    if (!new)
        return NULL;
    c->bytes += new_size - known;
    c->peak = c->bytes > c->peak ? c->bytes : c->peak;
    memcpy(new, &new_size, sizeof new_size);
    memset(new + COUNTING_HEAD, 0xa5, new_size); /* nobody may count on zeros, nor on old pages */
    if (block)
        memcpy(new + COUNTING_HEAD, p, old_size < new_size ? old_size : new_size);
    else
        c->blocks++;
    free(block);
    return new + COUNTING_HEAD;
}

static inline nb_allocator counting_allocator(counting *c)
{
    return (nb_allocator){counting_resize, c};
}

#endif
