/*
 * Replays, from inside: with any pattern of shared inputs and summed outputs, whatever the program
 * declares.
 */
#ifndef NABLA_SRC_RUN_H
#define NABLA_SRC_RUN_H

#include "base/pool.h"
#include "program/code.h"

/* nb_program_run with flags per argument, by the crew given. */
nb_code nbi_program_run(const nb_program *p, const nb_replay *r, const uint8_t *shared,
                        const uint8_t *summed, const nbi_crew *crew, nb_reason *why);

#endif
