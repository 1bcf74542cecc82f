/*
 * Data sets and readers, from inside.
 *
 * A table is a data set that owns its arrays and can grow by rows. A reader is a struct whose first
 * member says how its format fills a table's rows.
 */
#ifndef NABLA_SRC_DATASET_H
#define NABLA_SRC_DATASET_H

#include "base/element.h"
#include "base/memory.h"
#include <nabla/data.h>

/* The data set is first, so that a pointer to one that the library made is one to its table. */
typedef struct nbi_table {
    nb_dataset d; /* its pointers are those below */
    nb_allocator allocator;
    nbi_heap heap;
    char *block; /* x, y and labels, one after the other */
    void *x, *y;
    int64_t *label, *levels;
    size_t bytes;
    int64_t room; /* rows */
    bool has_label;
} nbi_table;

/* No rows, room for `rows`, and otherwise as `like`, of which only sizes count; has_label tells whether
 * there will be labels. */
nb_code nbi_table_new(const nb_dataset *like, bool has_label, int64_t rows,
                      const nb_allocator *allocator, nbi_table **out, nb_reason *why);
nb_code nbi_table_reserve(nbi_table *t, int64_t rows, nb_reason *why);
void nbi_table_free(nbi_table *t);
/* Copies row `from` of a data set of the same sizes to row `to` of the table, which has room for it. */
void nbi_table_copy(nbi_table *t, int64_t to, const nb_dataset *d, int64_t from);

/* Whether the sizes and pointers of a data set make sense; its numbers are not looked at. */
nb_code nbi_dataset_sane(const nb_dataset *d, nb_reason *why);

struct nb_reader {
    /* Appends up to `most` rows to the block, which has room for them. */
    nb_code (*more)(nb_reader *r, nbi_table *block, int64_t most, nb_reason *why);
    void (*rewind)(nb_reader *r);
    void (*destroy)(nb_reader *r); /* all but the reader itself and its block */
    size_t size;                   /* of the whole struct */
    nbi_heap heap;
    nb_allocator allocator;
    nbi_table *block; /* its sizes are those of what is read; NULL until the reader is open */
};

/* A zeroed reader of so many bytes, with heap, allocator and size set. */
nb_code nbi_reader_new(size_t size, const nb_allocator *allocator, nb_reader **out, nb_reason *why);

#endif
