/*
 * The cases of the program `derivatives`, one function each. A case checks its results, prints its
 * figures, and returns whether the results were right.
 */
#ifndef NABLA_BENCH_DERIVATIVES_H
#define NABLA_BENCH_DERIVATIVES_H

#include "bench.h"

#include <nabla.h>

bool bench_hvp(bool quick);
bool bench_jacobian(bool quick);
bool bench_checkpoint(bool quick);
bool bench_ode(bool quick);
bool bench_sparse(bool quick);

#endif
