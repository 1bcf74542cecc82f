/* The cell of lstm.h by the C library, one element at a time. Floats are computed in double, which
 * rounds once. */
#include "kernels/lstm.h"

#include <math.h>
#include <stddef.h>

#define INLINE static inline

INLINE double sigmoid(double x)
{
    const double e = exp(-fabs(x));
    return (x >= 0 ? 1 : e) / (1 + e);
}

#define PASTE(a, b)       a##b
#define PASTED(a, b)      PASTE(a, b)
#define FN(name)          PASTED(name, KIND)
#define V                 double
#define LANES             1
#define LOAD(p, left)     ((void)(left), (double)*(p))
#define STORE(p, left, v) ((void)(left), *(p) = (T)(v))
#define SIGMOID           sigmoid
#define TANH              tanh
#define ABS               fabs
#define LIFT(x)           ((double)(x))
#define PICK(m, a, b)     ((m) ? (a) : (b))

#define T                 double
#define KIND              _f64
#include "kernels/lstm.inc"
#undef T
#undef KIND

#define T    float
#define KIND _f32
#include "kernels/lstm.inc"

const nbi_lstm_kernel nbi_lstm_plain[2] = {{forward_f32, reverse_f32}, {forward_f64, reverse_f64}};
