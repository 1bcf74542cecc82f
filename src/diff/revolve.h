/*
 * Where to keep states of a loop that is to be swept in reverse: revolve.c.
 */
#ifndef NABLA_SRC_REVOLVE_H
#define NABLA_SRC_REVOLVE_H

#include <stdint.h>

enum { NBI_REVOLVE_LOG = 40 };
#define NBI_REVOLVE_MOST ((int64_t)1 << NBI_REVOLVE_LOG) /* steps */

/* With steps l >= 1 and states s >= 1, the one at the start counted: */

/* The least number of advances. */
int64_t nbi_revolve_advances(int64_t l, int64_t s);
/* After how many steps to keep the next state; l >= 2, s >= 2. */
int64_t nbi_revolve_split(int64_t l, int64_t s);

#endif
