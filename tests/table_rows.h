/*
 * The rows of table.def as an array: for each its names, samples and functions, in double and float
 * as table/arithmetic.h makes them and in long double as made here. The long double algebra takes
 * the same bodies, with long double functions of libm and constants that were never rounded to
 * double; a few functions that libm lacks are written out below, by other formulas than those under
 * test.
 */
#ifndef TABLE_ROWS_H
#define TABLE_ROWS_H

#include "table/arithmetic.h"

#include <float.h>
#include <math.h>

typedef long double wide;

enum { HAVE_WIDE = LDBL_MANT_DIG > DBL_MANT_DIG };

static wide nbi_lgammal(wide x)
{
    int sign;
    return lgammal_r(x, &sign);
}

/* The n-th derivative of digamma, x > 0: by steps up to x >= 30, then by the asymptotic series */
static wide nbi_polygammal(wide x, wide n)
{
    static const wide b[] = {1 / 6.0L,  -1 / 30.0L,     1 / 42.0L, -1 / 30.0L,
                             5 / 66.0L, -691 / 2730.0L, 7 / 6.0L,  -3617 / 510.0L};
    wide sum = 0, sign = fmodl(n, 2) == 0 ? -1 : 1;
    for (; x < 30; x += 1) {
        sum += tgammal(n + 1) / powl(x, n + 1);
    }
    sum += n > 0 ? tgammal(n) / powl(x, n) : -logl(x);
    sum += tgammal(n + 1) / (2 * powl(x, n + 1));
    for (int k = 0; k < 8; k++) {
        wide j = 2 * (wide)k + 2;
        sum += b[k] * tgammal(j + n) / tgammal(j + 1) / powl(x, j + n);
    }
    return sign * sum;
}

static wide nbi_digammal(wide x) { return nbi_polygammal(x, 0); }

/* The table in long double; K pastes the suffix, so that constants are not rounded to double first
 */
#include "table/operations.h"
#define NBI_OP1(name, a)       wide_value_##name(a)
#define NBI_OP2(name, a, b)    wide_value_##name(a, b)
#define NBI_OP3(name, a, b, c) wide_value_##name(a, b, c)
#define INFINITYL              ((wide)INFINITY)
#define NANL                   ((wide)NAN)
#define K(c)                   (c##L)
#define LET(name, expression)  const wide name = expression;
#define RETURN(expression)     return (expression);
#define SELECT(c, a, b)        ((c) != 0 ? (a) : (b))
#define CALL1(f, a)            f##l(a)
#define CALL2(f, a, b)         f##l(a, b)
#define CALL3(f, a, b, c)      f##l(a, b, c)
#define INFIX(a, op, b)        ((a)op(b))
#define PREFIX(op, a)          (op(a))

/* Macros that hold whole functions and rows, which a formatter cannot tell apart */
/* clang-format off */

#define WIDE __attribute__((unused)) static wide
#define UNARY(name, ...) WIDE wide_value_##name(wide);
#define BINARY(name, ...) WIDE wide_value_##name(wide, wide);
#define TERNARY(name, ...) WIDE wide_value_##name(wide, wide, wide);
#define TEST(name, ...) WIDE wide_value_##name(wide, wide);
#include "table/table.def"
#undef UNARY
#undef BINARY
#undef TERNARY
#undef TEST

/*
 * Behind one signature, for all rows and all three types: three operands, then the result. The
 * operand that a function does not have is passed and dropped.
 */
#define OPERANDS(real) (real x, real y, real z, real r)
#define DROP (void)x, (void)y, (void)z, (void)r;
#define WRAP(fn, ...) \
    static double d_##fn OPERANDS(double) { DROP return nbi_##fn(__VA_ARGS__); } \
    static float f_##fn OPERANDS(float) { DROP return nbi_##fn##f(__VA_ARGS__); } \
    static wide w_##fn OPERANDS(wide) { DROP return wide_##fn(__VA_ARGS__); }
#define SLOPE(name, axis, body, ...) \
    WIDE wide_slope##axis##_##name OPERANDS(wide) { DROP body } \
    static double d_slope##axis##_##name OPERANDS(double) { \
        DROP return nbi_slope##axis##_##name(__VA_ARGS__); \
    } \
    static float f_slope##axis##_##name OPERANDS(float) { \
        DROP return nbi_slope##axis##_##name##f(__VA_ARGS__); \
    }
#define UNARY(name, weight, kind, xlo, xhi, text, value, dx) \
    WIDE wide_value_##name(wide x) { value } \
    WRAP(value_##name, x) \
    SLOPE(name, , dx, x, r)
#define BINARY(name, weight, kind, xlo, xhi, ylo, yhi, text, value, dx, dy) \
    WIDE wide_value_##name(wide x, wide y) { value } \
    WRAP(value_##name, x, y) \
    SLOPE(name, _x, dx, x, y, r) \
    SLOPE(name, _y, dy, x, y, r)
#define TERNARY(name, weight, kind, xlo, xhi, ylo, yhi, zlo, zhi, text, value, dx, dy, dz) \
    WIDE wide_value_##name(wide x, wide y, wide z) { value } \
    WRAP(value_##name, x, y, z) \
    SLOPE(name, _x, dx, x, y, z, r) \
    SLOPE(name, _y, dy, x, y, z, r) \
    SLOPE(name, _z, dz, x, y, z, r)
#define TEST(name, text, value) \
    WIDE wide_value_##name(wide x, wide y) { value } \
    WRAP(value_##name, x, y)
#include "table/table.def"
#undef UNARY
#undef BINARY
#undef TERNARY
#undef TEST

struct function {
    double(*d) OPERANDS(double);
    float(*f) OPERANDS(float);
    wide(*w) OPERANDS(wide);
};

enum weight { LIGHT, HEAVY };
enum kind { SMOOTH, KINKED, FLAT, TESTING };

struct row {
    const char *name, *text, *body;
    int operands;
    enum weight weight;
    enum kind kind;
    double lo[3], hi[3];
    struct function f[4]; /* the value, then the slope by each operand */
};

#define VALUE_OF(name) {d_value_##name, f_value_##name, w_value_##name}
#define SLOPE_OF(name, axis) \
    {d_slope##axis##_##name, f_slope##axis##_##name, wide_slope##axis##_##name}
#define UNARY(name, weight, kind, xlo, xhi, text, value, dx) \
    {#name, text, #value, 1, weight, kind, {xlo}, {xhi}, {VALUE_OF(name), SLOPE_OF(name, )}},
#define BINARY(name, weight, kind, xlo, xhi, ylo, yhi, text, value, dx, dy) \
    {#name, text, #value, 2, weight, kind, {xlo, ylo}, {xhi, yhi}, \
     {VALUE_OF(name), SLOPE_OF(name, _x), SLOPE_OF(name, _y)}},
#define TERNARY(name, weight, kind, xlo, xhi, ylo, yhi, zlo, zhi, text, value, dx, dy, dz) \
    {#name, text, #value, 3, weight, kind, {xlo, ylo, zlo}, {xhi, yhi, zhi}, \
     {VALUE_OF(name), SLOPE_OF(name, _x), SLOPE_OF(name, _y), SLOPE_OF(name, _z)}},
#define TEST(name, text, value) \
    {#name, text, #value, 2, LIGHT, TESTING, {-3, -3}, {3, 3}, {VALUE_OF(name)}},
static const struct row rows[] = {
#include "table/table.def"
};
#include "table/operations.h"
/* clang-format on */

#endif
