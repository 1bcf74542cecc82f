/*
 * Where a replay's arguments stand: nb_lanes made definite, and held against one another.
 */
#ifndef NABLA_SRC_PLACES_H
#define NABLA_SRC_PLACES_H

#include "program/code.h"

/* Fills one place per argument. NB_OK, or an error with its reason: something is missing, negative, does
 * not fit the address space, or outputs overlap. */
nb_code nbi_places(const nb_program *p, const nb_replay *r, const uint8_t *shared,
                   const uint8_t *summed, nbi_place *in, nbi_place *out, nb_reason *why);

#endif
