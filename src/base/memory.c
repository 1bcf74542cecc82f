/*
 * The default allocator and the arena.
 *
 * Small blocks come from malloc. Blocks of 4 MiB and more are mapped at a 2 MiB boundary and marked
 * for huge pages, because touching a fresh 4 KiB page costs more than recording all the nodes that
 * fit on it. Such a block grows by moving its pages to a larger range of addresses, not by copying.
 * Which of the two made a block is told by its size, which every caller passes back.
 */
#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

#ifdef __linux__
#include <sys/mman.h>

enum { HUGE_PAGE = 1 << 21, MAPPED_FROM = 1 << 22 };

static size_t round_up(size_t n, size_t to) { return (n + to - 1) & ~(to - 1); }

/* A range of addresses at a huge page's boundary, without memory behind it yet. */
static char *reserve(size_t bytes)
{
    size_t whole = bytes + HUGE_PAGE;
    char *p = mmap(NULL, whole, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        return NULL;
    size_t front = round_up((uintptr_t)p, HUGE_PAGE) - (uintptr_t)p;
    if (front)
        munmap(p, front);
    munmap(p + front + bytes, whole - front - bytes);
    return p + front;
}

static void *map(void *old, size_t old_size, size_t new_size)
{
    if (new_size > SIZE_MAX / 2)
        return NULL;
    size_t bytes = round_up(new_size, HUGE_PAGE), before = round_up(old_size, HUGE_PAGE);
    if (old && bytes == before)
        return old;
    char *p = reserve(bytes);
    if (!p)
        return NULL;
    void *got = old ? mremap(old, before, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, p)
                    : mmap(p, bytes, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    if (got == MAP_FAILED) {
        munmap(p, bytes);
        return NULL;
    }
    madvise(p, bytes,
            MADV_HUGEPAGE); /* a wish: a system without huge pages says no, and that is fine */
    return p;
}

static void *standard_resize(void *ctx, void *p, size_t old_size, size_t new_size)
{
    (void)ctx;
    bool was_mapped = p && old_size >= MAPPED_FROM, map_it = new_size >= MAPPED_FROM;
    if (!was_mapped && !map_it) {
        if (new_size)
            return realloc(p, new_size);
        free(p);
        return NULL;
    }
    if (was_mapped && !new_size) {
        munmap(p, round_up(old_size, HUGE_PAGE));
        return NULL;
    }
    if (map_it && (was_mapped || !p))
        return map(p, old_size, new_size);
    void *q = map_it ? map(NULL, 0, new_size) : malloc(new_size);
    if (!q)
        return NULL;
    memcpy(q, p, old_size < new_size ? old_size : new_size);
    standard_resize(ctx, p, old_size, 0);
    return q;
}
#else
static void *standard_resize(void *ctx, void *p, size_t old_size, size_t new_size)
{
    (void)ctx, (void)old_size;
    if (new_size)
        return realloc(p, new_size);
    free(p);
    return NULL;
}
#endif

/* ---- the heap -------------------------------------------------------------------------------- */

void nbi_heap_init(nbi_heap *h, const nb_allocator *a, size_t cap)
{
    *h = (nbi_heap){.allocator = {standard_resize, NULL}, .cap = cap};
    if (a && a->resize)
        h->allocator = *a;
}

void *nb_resize(const nb_allocator *a, void *p, size_t old_size, size_t new_size)
{
    nbi_heap h;
    nbi_heap_init(&h, a, 0);
    return nbi_resize(&h, p, old_size, new_size);
}

void *nbi_resize(nbi_heap *h, void *p, size_t old_size, size_t new_size)
{
    if (!p && !new_size)
        return NULL;
    if (h->cap && new_size > old_size && new_size - old_size > h->cap - h->used) {
        h->capped = true;
        return NULL;
    }
    void *q = h->allocator.resize(h->allocator.ctx, p, old_size, new_size);
    if (q || !new_size)
        h->used += new_size - old_size;
    else
        h->capped = false;
    return q;
}

/* ---- the arena ------------------------------------------------------------------------------- */

void nbi_arena_init(nbi_arena *a, nbi_heap *h, size_t first_size)
{
    *a = (nbi_arena){.heap = h, .next_size = first_size};
}

void nbi_arena_free(nbi_arena *a)
{
    for (nbi_chunk *c = a->first, *next; c; c = next) {
        next = c->next;
        nbi_resize(a->heap, c, c->size, 0);
    }
    a->first = NULL;
    a->at = (nbi_spot){NULL, 0};
}

/* Chunks double at first. A large arena grows by a small share, so that little of it is spare. */
static void plan_next(nbi_arena *a, size_t size)
{
    enum { LARGE = 1 << 26, SHARE = 32 };
    a->whole += size;
    if (a->whole >= LARGE)
        a->next_size = a->whole / SHARE;
    else if (a->next_size <= size)
        a->next_size = 2 * size < LARGE / 16 ? 2 * size : LARGE / 16;
}

/* Room for a whole number of arrays like this one, and a little beside each: what follows a large
 * array is often of its size, and would leave the end of the chunk empty. */
static size_t next_size(const nbi_arena *a, size_t need)
{
    enum { BESIDE = 1024 };
    if (need >= a->next_size || a->next_size > SIZE_MAX / 4)
        return need > a->next_size ? need : a->next_size;
    const size_t each = need + BESIDE;
    return (a->next_size + each - 1) / each * each;
}

/* A later chunk that is large enough, or a new one behind the last. Chunks that are too small are
 * passed over until the pointer moves down again. */
static nbi_chunk *next_chunk(nbi_arena *a, size_t bytes)
{
    nbi_chunk **link = a->at.chunk ? &a->at.chunk->next : &a->first;
    for (; *link; link = &(*link)->next)
        if (nbi_fit(*link, sizeof(nbi_chunk), bytes, NBI_ALIGN))
            return *link;
    size_t need = sizeof(nbi_chunk) + NBI_ALIGN + bytes;
    if (need < bytes)
        return NULL;
    size_t size = next_size(a, need);
    nbi_chunk *c = nbi_resize(a->heap, NULL, 0, size);
    if (!c && size > need)
        c = nbi_resize(a->heap, NULL, 0, size = need);
    if (!c)
        return NULL;
    *c = (nbi_chunk){NULL, size};
    *link = c;
    plan_next(a, size);
    return c;
}

void *nbi_take_elsewhere(nbi_arena *a, size_t bytes, size_t align)
{
    nbi_chunk *c = next_chunk(a, bytes);
    if (!c)
        return NULL;
    size_t offset = nbi_fit(c, sizeof(nbi_chunk), bytes, align);
    a->at = (nbi_spot){c, offset + bytes};
    return (char *)c + offset;
}

void nbi_give_back(nbi_arena *a, nbi_spot to) { a->at = to; }

void nbi_give_back_all(nbi_arena *a) { a->at = (nbi_spot){a->first, sizeof(nbi_chunk)}; }

size_t nbi_arena_used(const nbi_arena *a)
{
    size_t used = 0;
    for (const nbi_chunk *c = a->first; c && a->at.chunk; c = c->next) {
        if (c == a->at.chunk)
            return used + a->at.used;
        used += c->size;
    }
    return 0;
}
