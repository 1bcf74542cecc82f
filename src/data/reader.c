/*
 * What readers of all formats share: they differ in how they append rows to a block, and in nothing
 * else. A block is reused, so that reading a file of any length takes the memory of one block.
 */
#include "data/dataset.h"

#include "base/reason.h"

#include <string.h>

nb_code nbi_reader_new(size_t size, const nb_allocator *allocator, nb_reader **out, nb_reason *why)
{
    nbi_heap heap;
    nbi_heap_init(&heap, allocator, 0);
    nb_reader *r = *out = nbi_resize(&heap, NULL, 0, size);
    if (!r)
        return nbi_because(why, NB_ERR_MEMORY, "read: no memory for a reader");
    memset(r, 0, size);
    r->size = size;
    r->heap = heap;
    r->allocator = heap.allocator;
    return NB_OK;
}

void nb_reader_free(nb_reader *r)
{
    if (!r)
        return;
    if (r->destroy)
        r->destroy(r);
    nbi_table_free(r->block);
    nbi_heap heap = r->heap;
    nbi_resize(&heap, r, r->size, 0);
}

nb_code nb_reader_next(nb_reader *r, int64_t most, const nb_dataset **block, nb_reason *why)
{
    if (block)
        *block = NULL;
    if (!r || !block || most < 1)
        return nbi_because(why, NB_ERR_ARGUMENT, "read: no reader, or no rows asked for");
    nb_code code = nbi_table_reserve(r->block, most, why);
    r->block->d.rows = 0;
    if (!code)
        code = r->more(r, r->block, most, why);
    if (!code)
        *block = &r->block->d;
    return code;
}

void nb_reader_rewind(nb_reader *r)
{
    if (r)
        r->rewind(r);
}

nb_code nb_reader_load(nb_reader *r, nb_dataset **out, nb_reason *why)
{
    enum { PART = 1024 };
    nbi_table *t = NULL;
    if (out)
        *out = NULL;
    if (!r || !out)
        return nbi_because(why, NB_ERR_ARGUMENT, "read: no reader, or nowhere to put the rows");
    const nbi_table *b = r->block;
    nb_code code = nbi_table_new(&b->d, b->has_label, PART, &r->allocator, &t, why);
    r->rewind(r);
    for (int64_t before = -1; !code && t->d.rows != before;) {
        before = t->d.rows;
        if (t->room - before < PART)
            code = nbi_table_reserve(t, 2 * t->room, why);
        if (!code)
            code = r->more(r, t, t->room - before, why);
    }
    if (!code && !t->d.rows)
        code = nbi_because(why, NB_ERR_EMPTY, "read: the file has no rows");
    if (code)
        nbi_table_free(t);
    else
        *out = &t->d;
    return code;
}
