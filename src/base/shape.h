/*
 * Shapes: products that cannot overflow unnoticed, and broadcasting.
 *
 * Two shapes broadcast when, aligned at the last axis, each pair of dimensions is equal or one of
 * the two is 1 (an absent dimension counts as 1). The result has the larger of each pair.
 */
#ifndef NABLA_SRC_SHAPE_H
#define NABLA_SRC_SHAPE_H

#include <nabla/base.h>
#include <stdio.h>

/* The product of the dimensions, or -1 if one is negative or it overflows. */
int64_t nbi_product(int rank, const int64_t *dims);

/* Widens out to hold dims as well; false if the two do not broadcast. */
bool nbi_broadcast(nb_shape *out, int rank, const int64_t *dims);

/* nb_shape_text of dimensions that stand apart. */
enum { NBI_SHAPE_TEXT = NB_SHAPE_TEXT };
char *nbi_shape_text(char *text, int rank, const int64_t *dims);

#endif
