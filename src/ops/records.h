/* The records of the structural operations, one const nb_op nbi_op_<name> for each line of
 * records.def. */
#ifndef NABLA_SRC_RECORDS_H
#define NABLA_SRC_RECORDS_H

#include <nabla/op.h>

#define RECORD(name) extern const nb_op nbi_op_##name;
#include "ops/records.def"
#undef RECORD

/* The generator that a node of dropout draws its mask from; NULL: the mask is that of another. */
const nb_rng *nbi_dropout_rng(const void *state);

#endif
