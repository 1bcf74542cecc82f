/*
 * Picking elements along an axis by an index array, and its transpose, which puts them back.
 *
 * The array that is picked from is seen as [outer n inner], the picked one as [outer count inner]:
 *
 *     gather    picked[o, j, i]  =  array[o, x, i]
 *     scatter   array[o, x, i]  +=  picked[o, j, i]
 *
 * where x is index[j], the same for a whole row of inner elements, or index[o, j, i] if each
 * element has its own. Indices have been checked: they lie in [0, n).
 *
 * Where an index is repeated, scatter adds up. For floats each such sum is taken in double and
 * rounded once, so that its error does not grow with the number of repetitions.
 */
#ifndef NABLA_SRC_PICK_H
#define NABLA_SRC_PICK_H

#include "base/pool.h"

typedef struct nbi_pick {
    int64_t outer, n, inner, count;
    const int64_t *index;
    bool each;
} nbi_pick;

/* picked = or += array's elements, shared by a crew. */
void nbi_gather(const nbi_crew *crew, nb_dtype d, const nbi_pick *p, void *picked,
                const void *array, bool add);

/* How many bytes of scratch scatter wants, aligned for int64_t. Cannot overflow where the array is
 * in memory. */
size_t nbi_scatter_scratch(nb_dtype d, const nbi_pick *p);
void nbi_scatter(nb_dtype d, const nbi_pick *p, void *array, const void *picked, void *scratch);

#endif
