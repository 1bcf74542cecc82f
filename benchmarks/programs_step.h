/*
 * The case frozen_mlp of the benchmark program `programs`; false if its numbers are wrong.
 */
#ifndef NABLA_PROGRAMS_STEP_H
#define NABLA_PROGRAMS_STEP_H

#include <stdbool.h>

bool programs_step(bool quick);

#endif
