/*
 * Opcodes: what the one byte per node says.
 *
 * A scalar op's closure is interned: the opcode is the code, the operand ids are what it captured.
 * Every row of the table has opcodes of its own; a binary row has three, because an operand that is
 * a constant gets no adjoint and the sweep should not spend a test on it: f(v, v), f(v, c), f(c, v).
 *
 * A node through which no gradient can flow (all operands constant, or recording paused) needs no
 * opcode of its own, since no sweep ever reaches it: it is NBI_STILL and names its row beside it.
 * Everything that is not a row or a function of many scalars is a record with its own op.
 */
#ifndef NABLA_SRC_CODES_H
#define NABLA_SRC_CODES_H

#include <nabla/inline.h>
#include "table/rows.h"

enum nbi_opcode {
    NBI_INPUT,    /* a scalar leaf */
    NBI_CONSTANT, /* a number; equal ones share a node where that is cheap */
    NBI_STILL,    /* args: operand (or place of the operands in the list), row */
    NBI_RECORD,   /* args: pointer to an nbi_record */
    NBI_SUM,      /* functions of many scalars; args: place of the operands in the list, count */
    NBI_MEAN,
    NBI_DOT,
    NBI_COMBINE,
    NBI_LOGSUMEXP,
    NBI_NORM,
    NBI_MAX,
    NBI_MIN,
    NBI_MAXOUT,
    NBI_SPARE_13,
    NBI_SPARE_14,
    NBI_SPARE_15,
#define BINARY(name, ...)  NBI_OP_##name, NBI_OP_##name##_vc, NBI_OP_##name##_cv,
#define UNARY(name, ...)
#define TERNARY(name, ...)
#define TEST(name, ...)
#include "table/table.def"
#undef BINARY
#undef UNARY
#undef TERNARY
#define BINARY(name, ...)
#define UNARY(name, ...)   NBI_OP_##name,
#define TERNARY(name, ...) NBI_OP_##name,
#include "table/table.def"
    NBI_OPCODES
#undef BINARY
#undef UNARY
#undef TERNARY
#undef TEST
};

_Static_assert((int)NBI_OPCODES <= 256, "an opcode is one byte");
_Static_assert((int)NBI_OP_add == NBI_INLINE_ADD && (int)NBI_OP_sub == NBI_INLINE_SUB &&
                   (int)NBI_OP_mul == NBI_INLINE_MUL && (int)NBI_OP_div == NBI_INLINE_DIV,
               "add, sub, mul, div are the table's first binary rows");

#endif
