/* Elementary functions by the C library, one element at a time.
 *
 * This is the level that every machine has, and the one the vector forms are compared
 * with. Only sigmoid is not the library's. With e = exp(-|x|), which cannot overflow,
 *
 *     sigmoid(x) = 1 / (1 + e)  for x >= 0,    e / (1 + e)  for x < 0,
 *
 * and neither branch subtracts, so small values keep all their digits. Float sigmoid and
 * tanh are computed in double, which rounds once: a C library's own float tanh may be
 * more than two units off. */
#include "kernels/vmath.h"

#include <math.h>

static double sigmoid(double x)
{
    double e = exp(-fabs(x));
    return (x >= 0 ? 1 : e) / (1 + e);
}

static float sigmoidf(float x) { return (float)sigmoid((double)x); }

static float tanh_once(float x) { return (float)tanh((double)x); }

#define EACH(name, type, function)                           \
    static void name(int64_t n, const void *x, void *y)      \
    {                                                        \
        for (int64_t i = 0; i < n; i++)                      \
            ((type *)y)[i] = function(((const type *)x)[i]); \
    }

#define EACH_PAIR(name, type, sine, cosine)                      \
    static void name(int64_t n, const void *x, void *s, void *c) \
    {                                                            \
        for (int64_t i = 0; i < n; i++) {                        \
            const type v = ((const type *)x)[i];                 \
            ((type *)s)[i] = sine(v);                            \
            ((type *)c)[i] = cosine(v);                          \
        }                                                        \
    }

#define MOST(name, type)                         \
    static double name(int64_t n, const void *x) \
    {                                            \
        type most = -(type)INFINITY;             \
        for (int64_t i = 0; i < n; i++) {        \
            const type v = ((const type *)x)[i]; \
            most = most > v ? most : v;          \
        }                                        \
        return (double)most;                     \
    }

#define EXP_ABOVE(name, type, function)                                \
    static void name(int64_t n, const void *x, double p, void *y)      \
    {                                                                  \
        for (int64_t i = 0; i < n; i++)                                \
            ((type *)y)[i] = function(((const type *)x)[i] - (type)p); \
    }

EXP_ABOVE(exp_above_f32, float, expf)
EXP_ABOVE(exp_above_f64, double, exp)
MOST(most_f32, float)
MOST(most_f64, double)
EACH(exp_f32, float, expf)
EACH(expm1_f32, float, expm1f)
EACH(log_f32, float, logf)
EACH(log1p_f32, float, log1pf)
EACH(tanh_f32, float, tanh_once)
EACH(sigmoid_f32, float, sigmoidf)
EACH(sin_f32, float, sinf)
EACH(cos_f32, float, cosf)
EACH(erf_f32, float, erff)
EACH_PAIR(sincos_f32, float, sinf, cosf)
EACH(exp_f64, double, exp)
EACH(expm1_f64, double, expm1)
EACH(log_f64, double, log)
EACH(log1p_f64, double, log1p)
EACH(tanh_f64, double, tanh)
EACH(sigmoid_f64, double, sigmoid)
EACH(sin_f64, double, sin)
EACH(cos_f64, double, cos)
EACH(erf_f64, double, erf)
EACH_PAIR(sincos_f64, double, sin, cos)

const nbi_vmath nbi_vmath_plain[2] = {
    {exp_f32, expm1_f32, log_f32, log1p_f32, tanh_f32, sigmoid_f32, sin_f32, cos_f32, erf_f32,
     sincos_f32, most_f32, exp_above_f32},
    {exp_f64, expm1_f64, log_f64, log1p_f64, tanh_f64, sigmoid_f64, sin_f64, cos_f64, erf_f64,
     sincos_f64, most_f64, exp_above_f64},
};
