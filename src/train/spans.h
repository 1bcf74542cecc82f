/*
 * The elements that learn, as stretches of the parameters' arrays: parameters that stand side by side,
 * belong to one group and are not frozen make one span. What works on all of them is a loop over few long
 * runs, however many parameters there are.
 */
#ifndef NABLA_SRC_TRAIN_SPANS_H
#define NABLA_SRC_TRAIN_SPANS_H

#include "nn/model.h"

typedef struct nbi_span {
    int64_t offset, size;
    int32_t group;
    int32_t next; /* the parameter to go on with; 0 at first */
} nbi_span;

/* Goes on to the next span, from one that is zeroed; false after the last. */
bool nbi_span_next(const nb_params *p, nbi_span *s);

/* NB_OK if p is usable and sealed and the gradients of all that learns are finite; the sum of their
 * squares, roughly, goes to *squares, and is not finite if it overflows. `who` begins the message, which
 * names the parameter and the element. */
nb_code nbi_gradients_check(nb_params *p, const char *who, double *squares, nb_reason *why);
/* In the precision of the numbers: to see their magnitude. */
double nbi_squares(nb_dtype d, const void *x, int64_t n);

#endif
