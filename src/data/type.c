/*
 * Element types: one table, and their conversion to doubles.
 *
 * Halves are widened by arithmetic on their fields: with exponent e and fraction f,
 *
 *     F16:  e = 0: f 2^-24      0 < e < 31: (1024 + f) 2^(e - 25)      e = 31: infinity, or NaN if f
 *
 * and BF16 is a float whose lower half is zero.
 */
#include <nabla/file.h>

#include <math.h>
#include <string.h>

static const struct {
    const char *name;
    size_t size;
} types[NB_TYPES] = {
    [NB_T_F64] = {"F64", 8},   [NB_T_F32] = {"F32", 4}, [NB_T_F16] = {"F16", 2},
    [NB_T_BF16] = {"BF16", 2}, [NB_T_I64] = {"I64", 8}, [NB_T_I32] = {"I32", 4},
    [NB_T_I16] = {"I16", 2},   [NB_T_I8] = {"I8", 1},   [NB_T_U64] = {"U64", 8},
    [NB_T_U32] = {"U32", 4},   [NB_T_U16] = {"U16", 2}, [NB_T_U8] = {"U8", 1},
    [NB_T_BOOL] = {"BOOL", 1},
};

size_t nb_type_size(nb_type type) { return (unsigned)type < NB_TYPES ? types[type].size : 0; }

const char *nb_type_name(nb_type type)
{
    return (unsigned)type < NB_TYPES ? types[type].name : "unknown";
}

static double from_half(uint16_t h)
{
    const int e = h >> 10 & 31, f = h & 1023;
    const double size = e == 0   ? ldexp(f, -24)
                        : e < 31 ? ldexp(1024 + f, e - 25)
                        : f      ? (double)NAN
                                 : (double)INFINITY;
    return h >> 15 ? -size : size;
}

static double from_brain(uint16_t h)
{
    const uint32_t bits = (uint32_t)h << 16;
    float x;
    memcpy(&x, &bits, sizeof x);
    return (double)x;
}

/* The element at p, which may be unaligned. */
static double number_at(nb_type type, const char *p)
{
    union {
        double f64;
        float f32;
        uint64_t u64;
        int64_t i64;
        uint32_t u32;
        int32_t i32;
        uint16_t u16;
        int16_t i16;
        uint8_t u8;
        int8_t i8;
    } v;
    memcpy(&v, p, nb_type_size(type));
    switch (type) {
    case NB_T_F64: return v.f64;
    case NB_T_F32: return (double)v.f32;
    case NB_T_F16: return from_half(v.u16);
    case NB_T_BF16: return from_brain(v.u16);
    case NB_T_I64: return (double)v.i64;
    case NB_T_I32: return v.i32;
    case NB_T_I16: return v.i16;
    case NB_T_I8: return v.i8;
    case NB_T_U64: return (double)v.u64;
    case NB_T_U32: return v.u32;
    case NB_T_U16: return v.u16;
    case NB_T_U8:
    case NB_T_BOOL: return v.u8;
    case NB_TYPES: break;
    }
    return (double)NAN;
}

void nb_numbers(nb_type type, const void *from, int64_t n, double *to)
{
    const int64_t size = (int64_t)nb_type_size(type);
    for (int64_t i = 0; i < n; i++)
        to[i] = number_at(type, (const char *)from + i * size);
}
