/*
 * Errors of functions that are no operations themselves: the message of one (see nabla/op.h), with the
 * operands and their shapes, and an inert var. Both come from recording an operation which refuses all
 * operands; so stale vars and those of another tape are told as everywhere.
 */
#ifndef NABLA_SRC_NN_REFUSE_H
#define NABLA_SRC_NN_REFUSE_H

#include <nabla/op.h>

/* `who` must be a literal. x: the n operands, at least one of them a var with a tape. format may be
 * NULL; what it says stands below the operands. */
nb_var nbi_refuse(const char *who, nb_code code, size_t n, const nb_var *x, const char *reason,
                  const char *format, ...) NBI_FORMAT(6, 7);

/* Whether all n are vars or numbers fit for use; *out is inert then if not, with the error told. */
bool nbi_usable(const char *who, size_t n, const nb_var *x, nb_var *out);

#endif
