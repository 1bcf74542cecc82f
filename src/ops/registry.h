/*
 * The list of all operations: rows of the table and records. An op is here or it does not exist.
 */
#ifndef NABLA_SRC_REGISTRY_H
#define NABLA_SRC_REGISTRY_H

#include <nabla/op.h>

size_t nbi_op_count(void);
const nb_op *nbi_op_at(size_t i); /* rows first, in the order of the table */

#endif
