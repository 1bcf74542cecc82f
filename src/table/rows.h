/*
 * The rows of the table by number: indices into every array that is expanded from it.
 */
#ifndef NABLA_SRC_ROWS_H
#define NABLA_SRC_ROWS_H

#define UNARY(name, ...)   NBI_ROW_##name,
#define BINARY(name, ...)  NBI_ROW_##name,
#define TERNARY(name, ...) NBI_ROW_##name,
#define TEST(name, ...)    NBI_ROW_##name,
enum nbi_row {
#include "table/table.def"
    NBI_ROWS
};
#undef UNARY
#undef BINARY
#undef TERNARY
#undef TEST

#endif
