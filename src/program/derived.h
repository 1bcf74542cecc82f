/*
 * Programs that rules on tapes derive from a program, made once and kept with it.
 */
#ifndef NABLA_SRC_DERIVED_H
#define NABLA_SRC_DERIVED_H

#include "program/program.h"

typedef enum nbi_derivation {
    NBI_DERIVE_VJP,  /* nb_program_vjp */
    NBI_DERIVE_JVP,  /* nb_program_jvp */
    NBI_DERIVE_BACK, /* one step of a scan, backwards */
} nbi_derivation;

enum { NBI_WANTED = 1, NBI_STATE = 2 }; /* flags of an input */

/* The derivation of p with those flags, one per input; made if need be. It lives as long as p. NULL if there
 * is no memory.
 *
 * NBI_DERIVE_BACK is the vjp whose outputs "d s", for each input s flagged as a state, have an input more
 * added to them, "g s" (all are wanted): with these, in order, its inputs end. So a recurrence of
 * adjoints takes in those that reach its states from elsewhere. */
const nb_program *nbi_derived_of(const nb_program *p, nbi_derivation how, const uint8_t *flags);
void nbi_derived_free(nb_program *p);

#endif
