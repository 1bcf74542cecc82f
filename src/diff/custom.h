/*
 * What regions and the operations made of them share.
 */
#ifndef NABLA_SRC_DIFF_CUSTOM_H
#define NABLA_SRC_DIFF_CUSTOM_H

#include <nabla/region.h>
#include "tape/tape.h"

/* Adds a line to the message of an error that arose since the status was `before`: where. */
void nbi_within(nb_tape *t, nb_code before, const char *format, ...) NBI_FORMAT(3, 4);

/* Whether the nodes from `from` on, recorded by a function of in[0..n), use nothing that varies but
 * these and each other, and neither is result; else an error that names `who` and the node. */
bool nbi_captures_nothing(nb_tape *t, const char *who, uint32_t from, size_t n, const nb_var *in,
                          nb_var result);

/* nb_region; own says that the function is known to keep no vars for later. */
nb_code nbi_region(const nb_region_spec *spec, bool own, size_t n_in, const nb_var *in,
                   size_t n_out, nb_var *out);

/* What the region's node r was made of, and the context that its rule gets; NULL: r is no region's. */
const nb_region_spec *nbi_region_spec_of(const nbi_record *r, void **context);
/* The results it has. */
size_t nbi_region_results(const nbi_record *r);

/* Whether d is an answer that a rule of `who` may give for node `of`: NB_NONE, a number, or alive, on
 * this tape and of a fitting shape; else an error. operand is its letter's place. */
bool nbi_answer_fits(nb_tape *t, const char *who, nb_var d, nb_var of, size_t operand);

#endif
