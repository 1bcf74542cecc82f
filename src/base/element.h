/*
 * One element of an array that may be of either type.
 */
#ifndef NABLA_SRC_ELEMENT_H
#define NABLA_SRC_ELEMENT_H

#include <nabla/base.h>

static inline size_t nbi_dtype_size(nb_dtype d)
{
    return d == NB_F64 ? sizeof(double) : sizeof(float);
}

static inline double nbi_element_at(nb_dtype d, const void *x, int64_t i)
{
    return d == NB_F64 ? ((const double *)x)[i] : (double)((const float *)x)[i];
}

static inline void nbi_set_element(nb_dtype d, void *x, int64_t i, double v)
{
    if (d == NB_F64)
        ((double *)x)[i] = v;
    else
        ((float *)x)[i] = (float)v;
}

#endif
