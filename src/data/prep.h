/*
 * Preprocessing, from inside: a list of maps from rows to rows, each with what it learned.
 *
 *     one-hot      each column by its levels
 *     whiten       y = M (x - shift), M [out in]
 *     the others   y = (x - shift) scale
 */
#ifndef NABLA_SRC_PREP_H
#define NABLA_SRC_PREP_H

#include "data/dataset.h"

typedef struct nbi_map {
    nb_prep_kind kind;
    int64_t in, out;
    double *shift, *scale, *matrix; /* NULL where the kind has none */
    int64_t *levels;
} nbi_map;

struct nb_prep {
    nbi_heap heap;
    nb_allocator allocator;
    nbi_arena store; /* of all arrays */
    nbi_map *map;    /* [count] of room */
    size_t count, room;
    int64_t columns; /* that go in */
    int64_t widest;
};

nb_code nbi_prep_new(size_t room, int64_t columns, const nb_allocator *allocator, nb_prep **out,
                     nb_reason *why);
/* One more map, with room for what its kind learns. out: of whiten; of one-hot, from the levels. */
nb_code nbi_prep_add(nb_prep *p, nb_prep_kind kind, int64_t in, int64_t out, const int64_t *levels,
                     nb_reason *why);
/* Row i of d through the first `maps` maps, into one of two rows of the widest, which it returns; NULL,
 * with a message, if a code is not one of its levels. */
const double *nbi_prep_row(const nb_prep *p, size_t maps, const nb_dataset *d, int64_t i,
                           double *work, nb_reason *why);
/* All rows of d, behind those of the table, which has room. */
nb_code nbi_prep_rows(const nb_prep *p, const nb_dataset *d, nbi_table *t, double *work,
                      nb_reason *why);
/* An empty table for what comes out of d. */
nb_code nbi_prep_table(const nb_prep *p, const nb_dataset *d, int64_t rows, nbi_table **out,
                       nb_reason *why);

static inline size_t nbi_prep_work(const nb_prep *p)
{
    return 2 * (size_t)p->widest * sizeof(double);
}

#endif
