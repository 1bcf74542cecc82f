/*
 * One element of an array of either type.
 */
#ifndef NABLA_TESTS_ELEMENT_H
#define NABLA_TESTS_ELEMENT_H

#include <nabla/base.h>

static inline double get(const void *a, nb_dtype d, int64_t i)
{
    return d == NB_F64 ? ((const double *)a)[i] : (double)((const float *)a)[i];
}

static inline void put(void *a, nb_dtype d, int64_t i, double v)
{
    if (d == NB_F64)
        ((double *)a)[i] = v;
    else
        ((float *)a)[i] = (float)v;
}

#endif
