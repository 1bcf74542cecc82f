/*
 * Replays, from inside: with any pattern of shared inputs and summed outputs, whatever the program
 * declares.
 */
#ifndef NABLA_SRC_RUN_H
#define NABLA_SRC_RUN_H

#include "base/element.h"
#include "base/memory.h"
#include "base/pool.h"
#include "program/code.h"

/* nb_program_run with flags per argument, by the crew given; in memory of `scratch`, which the caller
 * gives back, or of the program's allocator if that is NULL. */
nb_code nbi_program_run(const nb_program *p, const nb_replay *r, const uint8_t *shared,
                        const uint8_t *summed, const nbi_crew *crew, nbi_arena *scratch,
                        nb_reason *why);

/* Makes what such a replay needs besides memory of `scratch`: the program's code for it. */
nb_code nbi_program_ready(const nb_program *p, const nb_replay *r, const uint8_t *shared,
                          const uint8_t *summed, nb_reason *why);

/* For those who call the executor themselves. A frame is still to be given its places and lanes. A
 * workspace needs its constants once, and the uniform values whenever a shared input has changed. */
nbi_frame nbi_frame_for(const nb_program *p, const nbi_code *c, char *work);
void nbi_fill_constants(const nbi_code *c, char *work);
void nbi_compute_uniforms(nbi_frame *f, nbi_execute_fn *execute);
/* What the eight lanes of an accumulator add up to, always in the same order. */
double nbi_sum_lanes(const double *t);

#endif
