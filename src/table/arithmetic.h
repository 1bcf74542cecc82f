/*
 * The table in plain C arithmetic.
 *
 * For each row of table.def, in double and (suffix f) in float, these inline functions:
 *
 *     nbi_value_exp(x)       nbi_slope_exp(x, r)                            UNARY, r the value at x
 *     nbi_value_mul(x, y)    nbi_slope_x_mul(x, y, r), nbi_slope_y_mul      BINARY
 *     nbi_value_fma(x, y, z) nbi_slope_x_fma(x, y, z, r), _y_, _z_          TERNARY
 *     nbi_value_lt(x, y)                                                    TEST, 1 or 0
 *
 * A LIGHT row's float functions run in float; a HEAVY row's widen, run the double body and round
 * once. An operation inside a body is the value of its row in the body's own type, and since every
 * function is inline and pure, value and slope side by side share their common parts: compile with
 * -fno-math-errno -fno-trapping-math, and with -ffp-contract=off, since FMA is asked for by name.
 * Nothing is left defined but the functions.
 */
#ifndef NBI_TABLE_ARITHMETIC_H
#define NBI_TABLE_ARITHMETIC_H

#include "table/operations.h"
#include "table/special.h"

#include <math.h>

#define NBI_CAT_(a, b)         a##b
#define NBI_CAT(a, b)          NBI_CAT_(a, b)
#define NBI_FN(name)           NBI_CAT(name, NBI_SUFFIX)
#define NBI_PURE               static inline __attribute__((unused))

#define NBI_OP1(name, a)       NBI_FN(nbi_value_##name)(a)
#define NBI_OP2(name, a, b)    NBI_FN(nbi_value_##name)(a, b)
#define NBI_OP3(name, a, b, c) NBI_FN(nbi_value_##name)(a, b, c)
#define K(c)                   ((NBI_REAL)(c))
#define LET(name, expression)  const NBI_REAL name = expression;
#define RETURN(expression)     return (NBI_REAL)(expression);
#define SELECT(c, a, b)        ((c) != 0 ? (a) : (b))
#define CALL1(f, a)            NBI_FN(f)(a)
#define CALL2(f, a, b)         NBI_FN(f)(a, b)
#define CALL3(f, a, b, c)      NBI_FN(f)(a, b, c)
#define INFIX(a, op, b)        ((a)op(b))
#define PREFIX(op, a)          (op(a))

/* Macros that hold whole functions, which a formatter cannot tell apart */
/* clang-format off */

/* The functions of a row, from its bodies, in the type at hand */
#define NBI_UNARY_LIGHT(name, value, slope) \
    NBI_PURE NBI_REAL NBI_FN(nbi_value_##name)(NBI_REAL x) { value } \
    NBI_PURE NBI_REAL NBI_FN(nbi_slope_##name)(NBI_REAL x, NBI_REAL r) { (void)x, (void)r; slope }
#define NBI_BINARY_LIGHT(name, value, dx, dy) \
    NBI_PURE NBI_REAL NBI_FN(nbi_value_##name)(NBI_REAL x, NBI_REAL y) { value } \
    NBI_SLOPE2(nbi_slope_x_##name, dx) \
    NBI_SLOPE2(nbi_slope_y_##name, dy)
#define NBI_SLOPE2(name, slope) \
    NBI_PURE NBI_REAL NBI_FN(name)(NBI_REAL x, NBI_REAL y, NBI_REAL r) \
    { (void)x, (void)y, (void)r; slope }
#define NBI_TERNARY_LIGHT(name, value, dx, dy, dz) \
    NBI_PURE NBI_REAL NBI_FN(nbi_value_##name)(NBI_REAL x, NBI_REAL y, NBI_REAL z) { value } \
    NBI_SLOPE3(nbi_slope_x_##name, dx) \
    NBI_SLOPE3(nbi_slope_y_##name, dy) \
    NBI_SLOPE3(nbi_slope_z_##name, dz)
#define NBI_SLOPE3(name, slope) \
    NBI_PURE NBI_REAL NBI_FN(name)(NBI_REAL x, NBI_REAL y, NBI_REAL z, NBI_REAL r) \
    { (void)x, (void)y, (void)z, (void)r; slope }

/* The float functions of a row that is computed in double; no row of three operands is */
#define NBI_UNARY_HEAVY(name, value, slope) \
    NBI_PURE float nbi_value_##name##f(float x) { return (float)nbi_value_##name((double)x); } \
    NBI_PURE float nbi_slope_##name##f(float x, float r) \
    { return (float)nbi_slope_##name((double)x, (double)r); }
#define NBI_BINARY_HEAVY(name, value, dx, dy) \
    NBI_PURE float nbi_value_##name##f(float x, float y) \
    { return (float)nbi_value_##name((double)x, (double)y); } \
    NBI_PURE float nbi_slope_x_##name##f(float x, float y, float r) \
    { return (float)nbi_slope_x_##name((double)x, (double)y, (double)r); } \
    NBI_PURE float nbi_slope_y_##name##f(float x, float y, float r) \
    { return (float)nbi_slope_y_##name((double)x, (double)y, (double)r); }

/* clang-format on */

/* Every row is declared before any is defined, since bodies speak of rows below their own */
#define UNARY(name, ...)                      \
    NBI_PURE double nbi_value_##name(double); \
    NBI_PURE float nbi_value_##name##f(float);
#define BINARY(name, ...)                             \
    NBI_PURE double nbi_value_##name(double, double); \
    NBI_PURE float nbi_value_##name##f(float, float);
#define TERNARY(name, ...)                                    \
    NBI_PURE double nbi_value_##name(double, double, double); \
    NBI_PURE float nbi_value_##name##f(float, float, float);
#define TEST(name, ...) BINARY(name, )
#include "table/table.def"
#undef UNARY
#undef BINARY
#undef TERNARY
#undef TEST

#define TEST(name, text, value)                                          \
    NBI_PURE NBI_REAL NBI_FN(nbi_value_##name)(NBI_REAL x, NBI_REAL y) { \
        value                                                            \
    }

#define NBI_REAL double
#define NBI_SUFFIX
#define UNARY(name, weight, kind, xlo, xhi, text, value, slope) NBI_UNARY_LIGHT(name, value, slope)
#define BINARY(name, weight, kind, xlo, xhi, ylo, yhi, text, value, dx, dy) \
    NBI_BINARY_LIGHT(name, value, dx, dy)
#define TERNARY(name, weight, kind, xlo, xhi, ylo, yhi, zlo, zhi, text, value, dx, dy, dz) \
    NBI_TERNARY_LIGHT(name, value, dx, dy, dz)
#include "table/table.def"
#undef NBI_REAL
#undef NBI_SUFFIX
#undef UNARY
#undef BINARY
#undef TERNARY

#define NBI_REAL   float
#define NBI_SUFFIX f
#define UNARY(name, weight, kind, xlo, xhi, text, value, slope) \
    NBI_UNARY_##weight(name, value, slope)
#define BINARY(name, weight, kind, xlo, xhi, ylo, yhi, text, value, dx, dy) \
    NBI_BINARY_##weight(name, value, dx, dy)
#define TERNARY(name, weight, kind, xlo, xhi, ylo, yhi, zlo, zhi, text, value, dx, dy, dz) \
    NBI_TERNARY_##weight(name, value, dx, dy, dz)
#include "table/table.def"
#undef NBI_REAL
#undef NBI_SUFFIX
#undef UNARY
#undef BINARY
#undef TERNARY
#undef TEST

/* Another algebra may follow in the same source */
#include "table/operations.h"
#undef NBI_CAT_
#undef NBI_CAT
#undef NBI_FN
#undef NBI_PURE
#undef NBI_OP1
#undef NBI_OP2
#undef NBI_OP3
#undef K
#undef LET
#undef RETURN
#undef SELECT
#undef CALL1
#undef CALL2
#undef CALL3
#undef INFIX
#undef PREFIX
#undef NBI_UNARY_LIGHT
#undef NBI_BINARY_LIGHT
#undef NBI_SLOPE2
#undef NBI_TERNARY_LIGHT
#undef NBI_SLOPE3
#undef NBI_UNARY_HEAVY
#undef NBI_BINARY_HEAVY

#endif
