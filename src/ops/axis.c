/*
 * Axes: see axis.h. The refusals name the axis as the caller gave it, and the rank that it does not
 * fit. A scalar has no axes: every axis of it is refused, and the set of all its axes is empty.
 *
 * The products in a split divide the array's size, which was checked when the array was made, so
 * they overflow only where some dimension is 0, as in [0 2^40 2^40]; such a product counts as 0,
 * since the array has no elements to walk over.
 */
#include "ops/axis.h"

bool nbi_axis(const nb_call *c, int *axis, int rank)
{
    int given = *axis, n = rank > 0 ? rank : 0;
    if (given < -n || given >= n) {
        nb_refuse(c, NB_ERR_AXIS, "no such axis", "axis %d of %d", given, n);
        return false;
    }
    *axis = given < 0 ? given + n : given;
    return true;
}

static int64_t product(int n, const int64_t *dims)
{
    int64_t p = 1;
    for (int i = 0; i < n; i++)
        if (__builtin_mul_overflow(p, dims[i], &p))
            return 0;
    return p;
}

nbi_split nbi_split_at(int rank, const int64_t *dims, int axis)
{
    return (nbi_split){product(axis, dims), dims[axis], product(rank - axis - 1, dims + axis + 1)};
}

bool nbi_axes_mask(const nb_call *c, nb_axes axes, int rank, bool mask[NB_MAX_RANK])
{
    for (int i = 0; i < NB_MAX_RANK; i++)
        mask[i] = axes.count == -1 && i < rank;
    if (axes.count == -1)
        return true;
    if (axes.count < 0 || axes.count > NB_MAX_RANK) {
        nb_refuse(c, NB_ERR_AXIS, "too many axes", "at most %d", NB_MAX_RANK);
        return false;
    }
    for (int i = 0; i < axes.count; i++) {
        int axis = axes.axis[i];
        if (!nbi_axis(c, &axis, rank))
            return false;
        if (mask[axis]) {
            nb_refuse(c, NB_ERR_AXIS, "an axis is named twice", "axis %d", axes.axis[i]);
            return false;
        }
        mask[axis] = true;
    }
    return true;
}

bool nbi_axis_sample(nb_sampler *s, int k, nb_var *x, int *axis)
{
    const struct {
        nb_shape shape;
        int axis;
    } sample[] = {
        {NB_SHAPE(5), 0},        {NB_SHAPE(1), -1},
        {NB_SHAPE(3, 4), 1},     {NB_SHAPE(3, 4), 0},
        {NB_SHAPE(2, 9, 3), -2}, {NB_SHAPE(2, 1, 3), 1},
        {NB_SHAPE(0, 3), 1},     {NB_SHAPE(2, 0), 1},
        {NB_SHAPE(2, 21), -1},   {NB_SHAPE(1, 2, 1, 3, 1, 2, 2, 2), 3},
    };
    if (k >= (int)(sizeof sample / sizeof *sample))
        return false;
    *x = nb_sample(s, sample[k].shape, -2, 2);
    *axis = sample[k].axis;
    return true;
}
