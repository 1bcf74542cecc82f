/*
 * Broadcasting undone, in the one place where it is.
 *
 * Broadcasting copies an element to many places; its transpose sums over those places. So the adjoint
 * of an operand is the adjoint of the stretched operand, summed over the axes that were stretched.
 * The other direction, one adjoint that stands for many equal ones, is a stretch itself.
 */
#include "kernels/elementwise.h"
#include "kernels/reduce.h"

#include <string.h>

static bool same_shape(const nb_array *a, const nb_array *b)
{
    return a->size == b->size && (a->rank <= 0 || b->rank <= 0 || a->rank == b->rank) &&
           (a->rank <= 0 || b->rank <= 0 ||
            !memcmp(a->dims, b->dims, (size_t)a->rank * sizeof *a->dims));
}

typedef struct target {
    const nb_array *to;
    bool add;
} target;

static void sum_tile(void *context, const nbi_walk *k)
{
    const target *t = context;
    double sum[NBI_TILE], old[NBI_TILE];
    nbi_fold(k, NBI_FOLD_SUM, NULL, NULL, sum);
    if (t->add) {
        nbi_get(t->to->dtype, t->to->data, k->cell, k->w, old);
        for (int j = 0; j < k->w; j++)
            sum[j] += old[j];
    }
    nbi_put(t->to->dtype, t->to->data, k->cell, k->w, sum);
}

static void sum_into(const nbi_crew *crew, const nb_array *from, const nb_array *to, bool add)
{
    bool folded[NB_MAX_RANK];
    for (int d = 0; d < from->rank; d++) {
        int j = d - (from->rank - (to->rank < 0 ? 0 : to->rank));
        folded[d] = j < 0 || (to->dims[j] == 1 && from->dims[d] != 1);
    }
    nbi_nest nest;
    nbi_nest_make(&nest, from->rank < 0 ? 0 : from->rank, from->dims, folded);
    nbi_walk k = {.nest = &nest, .dtype = from->dtype, .x = from->data, .z = from->data};
    k.crew = crew;
    nbi_walk_tiles(&k, sum_tile, &(target){to, add});
}

/* Adding is the row `add` itself, in place; overwriting is adding to zeros. */
static void stretch_into(const nbi_crew *crew, const nb_array *from, const nb_array *to, bool add)
{
    float rounded;
    nb_array both[2] = {*to, *from};
    if (!add)
        memset(to->data, 0,
               (size_t)to->size * (to->dtype == NB_F64 ? sizeof(double) : sizeof(float)));
    if (from->dtype == NB_F64 && to->dtype == NB_F32) { /* only a scalar's adjoint is wider */
        rounded = (float)*(const double *)from->data;
        both[1].data = &rounded;
        both[1].dtype = NB_F32;
    }
    nbi_row_forward(crew, &nbi_row_kernels_plain, NBI_ROW_add, 2, both, to);
}

void nbi_reduce_into(const nbi_crew *crew, const nb_array *from, const nb_array *to, bool add)
{
    if (from->dtype == to->dtype && same_shape(from, to)) {
        nb_array both[2] = {*to, *from};
        if (add)
            nbi_row_forward(crew, &nbi_row_kernels_plain, NBI_ROW_add, 2, both, to);
        else if (to->size)
            memcpy(to->data, from->data,
                   (size_t)to->size * (to->dtype == NB_F64 ? sizeof(double) : sizeof(float)));
    } else if (from->size > to->size || to->rank < 0 || (from->size == 0 && to->size != 0)) {
        sum_into(crew, from, to, add);
    } else {
        stretch_into(crew, from, to, add);
    }
}
