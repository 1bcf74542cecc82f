/*
 * Statistics of arrays, from inside.
 */
#ifndef NABLA_SRC_TRAIN_SUMMARY_H
#define NABLA_SRC_TRAIN_SUMMARY_H

#include <nabla/monitor.h>

/* Of x [n], which is destroyed. */
nb_summary nbi_summary(double *x, int64_t n);
/* sqrt of the sum of squares, none of which leaves the range. */
double nbi_length(const double *x, int64_t n);

#endif
