/*
 * Sorting numbers of things, in place and without memory, by a rule that tells which of two comes first.
 *
 * A heap: the largest of what is left is swapped to the end, n times. It takes about 2 n log2(n)
 * comparisons whatever the input. It is not stable, so a rule that must decide between equals compares
 * the numbers themselves last.
 */
#ifndef NABLA_SRC_ORDER_H
#define NABLA_SRC_ORDER_H

#include <stdbool.h>
#include <stdint.h>

typedef bool nbi_before(const void *context, int64_t i, int64_t j);

void nbi_heapsort(int64_t n, int64_t *index, nbi_before *before, const void *context);

#endif
