/*
 * Sets of texts; the contract is in names.h.
 */
#include "data/names.h"

#include "data/order.h"

#include <string.h>

enum { FIRST = 16, LIMIT = INT32_MAX / 2 };

void nbi_names_init(nbi_names *n, nbi_heap *heap)
{
    *n = (nbi_names){.heap = heap, .seed = (uintptr_t)n};
    nbi_arena_init(&n->texts, heap, 1024);
}

void nbi_names_free(nbi_names *n)
{
    if (!n->heap)
        return;
    nbi_arena_free(&n->texts);
    nbi_resize(n->heap, n->name, n->room * sizeof *n->name, 0);
    nbi_resize(n->heap, n->slot, n->slots * sizeof *n->slot, 0);
    *n = (nbi_names){.heap = NULL};
}

/* Where the text stands, or the empty slot where it would. */
static size_t place(const nbi_names *n, const char *text, size_t size)
{
    uint64_t h = 0xcbf29ce484222325u ^ n->seed;
    for (size_t i = 0; i < size; i++)
        h = (h ^ (unsigned char)text[i]) * 0x100000001b3u;
    h ^= h >> 29;
    size_t at = h & (n->slots - 1);
    for (uint32_t k; (k = n->slot[at]); at = (at + 1) & (n->slots - 1)) {
        const char *other = n->name[k - 1];
        if (!strncmp(other, text, size) && !other[size])
            break;
    }
    return at;
}

static void fill_slots(nbi_names *n)
{
    memset(n->slot, 0, n->slots * sizeof *n->slot);
    for (size_t i = 0; i < n->count; i++)
        n->slot[place(n, n->name[i], strlen(n->name[i]))] = (uint32_t)i + 1;
}

static bool grow(nbi_names *n)
{
    const size_t room = n->room ? 2 * n->room : FIRST, slots = 2 * room;
    const char **name = nbi_resize(n->heap, n->name, n->room * sizeof *name, room * sizeof *name);
    if (!name)
        return false;
    n->name = name;
    n->room = room;
    uint32_t *slot = nbi_resize(n->heap, NULL, 0, slots * sizeof *slot);
    if (!slot)
        return false;
    nbi_resize(n->heap, n->slot, n->slots * sizeof *slot, 0);
    n->slot = slot;
    n->slots = slots;
    fill_slots(n);
    return true;
}

int64_t nbi_names_find(const nbi_names *n, const char *text, size_t size)
{
    return n->slots ? (int64_t)n->slot[place(n, text, size)] - 1 : -1;
}

int64_t nbi_names_add(nbi_names *n, const char *text, size_t size)
{
    const int64_t known = nbi_names_find(n, text, size);
    if (known >= 0)
        return known;
    if (n->count == LIMIT || (2 * n->count >= n->slots && !grow(n)))
        return -1;
    char *copy = nbi_take(&n->texts, size + 1, 1);
    if (!copy)
        return -1;
    memcpy(copy, text, size);
    copy[size] = 0;
    n->slot[place(n, copy, size)] = (uint32_t)n->count + 1;
    n->name[n->count] = copy;
    return (int64_t)n->count++;
}

static bool before(const void *context, int64_t i, int64_t j)
{
    const nbi_names *n = context;
    return strcmp(n->name[i], n->name[j]) < 0;
}

bool nbi_names_sort(nbi_names *n)
{
    const size_t bytes = n->count * (sizeof(int64_t) + sizeof(char *));
    int64_t *index = nbi_resize(n->heap, NULL, 0, bytes);
    if (!index)
        return !n->count;
    const char **sorted = (const char **)(index + n->count);
    for (size_t i = 0; i < n->count; i++)
        index[i] = (int64_t)i;
    nbi_heapsort((int64_t)n->count, index, before, n);
    for (size_t i = 0; i < n->count; i++)
        sorted[i] = n->name[index[i]];
    memcpy(n->name, sorted, n->count * sizeof *sorted);
    nbi_resize(n->heap, index, bytes, 0);
    fill_slots(n);
    return true;
}
