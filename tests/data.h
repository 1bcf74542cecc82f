/*
 * What the tests of data sets and of batches share: a plain set of rows, and an element of any.
 */
#ifndef NABLA_TESTS_DATA_H
#define NABLA_TESTS_DATA_H

#include "counting.h"
#include "folder.h"

#include <nabla/data.h>

static nb_reason why;

static inline double at(const nb_dataset *d, int64_t row, int64_t column)
{
    const int64_t i = row * d->columns + column;
    return d->dtype == NB_F64 ? ((const double *)d->x)[i] : (double)((const float *)d->x)[i];
}

/* Row i is (i, -i), of class classes[i % n]. */
enum { MOST = 5000 };
static double plain_x[2 * MOST];
static int64_t plain_label[MOST];

static inline nb_dataset plain(int64_t rows, int64_t classes)
{
    for (int64_t i = 0; i < rows; i++) {
        plain_x[2 * i] = (double)i;
        plain_x[2 * i + 1] = -(double)i;
        plain_label[i] = i * i % 7 % classes;
    }
    return (nb_dataset){
        .rows = rows, .columns = 2, .x = plain_x, .label = plain_label, .classes = classes};
}

#endif
