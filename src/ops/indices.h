/*
 * What the operations with an index array share.
 *
 * Indices are data, not operands. They are checked and made non-negative when the operation is
 * recorded, before anything is written, and the node keeps its own copy. An operation works along
 * one axis of the indexed array; its index array names either whole rows, the same for every line
 * along the axis, or a place for each single element.
 */
#ifndef NABLA_SRC_INDICES_H
#define NABLA_SRC_INDICES_H

#include "ops/array.h"

typedef struct nbi_indices {
    const int64_t *index; /* the caller's, then the node's */
    nb_shape shape;       /* of the index array */
    int64_t n;            /* the size of the axis that it indexes */
    int axis;
} nbi_indices;

/* Checks the axis of the first operand and the shape of the indices; sets n. */
nb_code nbi_indexed_axis(const nb_call *c, nbi_indices *s);

/* Takes a checked copy of the indices into an axis of s->n. */
nb_code nbi_take_indices(const nb_call *c, nbi_indices *s);

/* picked = or += elements of array; each: by an index per element. */
void nbi_read_by(const nb_call *c, bool each, const nb_array *picked, const nb_array *array,
                 bool add);

/* array += picked, at the places from which it would have been read. */
nb_code nbi_add_by(const nb_call *c, bool each, const nb_array *array, const nb_array *picked);

/* The reverse rule of reading, over arrays: g is added to the adjoint of what was read. */
nb_code nbi_unread(const nb_call *c, bool each, const nb_array *g, nb_array *const *gin,
                   const bool *add);

#endif
