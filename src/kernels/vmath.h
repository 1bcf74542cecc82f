/* Elementary functions over arrays: y[i] = f(x[i]).
 *
 * The bounds hold over the whole range, subnormals included: double within 4 units in
 * the last place, float within 2. Infinities, NaN and the sign of zero come out as C's
 * library gives them; sigmoid(x) is 1 / (1 + exp(-x)) without overflow or cancellation. sincos writes
 * bitwise what sin and cos do, s and c, for little more than the cost of one of them. The
 * other elementary functions are rows of the table and have their kernels in elementwise.h.
 *
 * A value gives bitwise the same result wherever it stands in the array, so how
 * an array is divided among callers cannot be seen in the result. Different instruction
 * sets agree only within the bounds. y, s or c may be x itself; any other overlap is not
 * allowed. No alignment is assumed, and nothing past element n is read or written. */
#ifndef NBI_KERNELS_VMATH_H
#define NBI_KERNELS_VMATH_H

#include "kernels/cpu.h"

#include <stdint.h>

typedef void (*nbi_vmath_fn)(int64_t n, const void *x, void *y);
typedef void (*nbi_vmath_pair_fn)(int64_t n, const void *x, void *s, void *c);

/* y[i] = exp(x[i] - p), in the type of the arrays; p is one of its numbers. */
typedef void (*nbi_vmath_above_fn)(int64_t n, const void *x, double p, void *y);
/* The greatest of n numbers, -inf if there are none; if there is a NaN among them, that or any other of them. */
typedef double (*nbi_vmath_most_fn)(int64_t n, const void *x);

typedef struct nbi_vmath {
    nbi_vmath_fn exp, expm1, log, log1p, tanh, sigmoid, sin, cos, erf;
    nbi_vmath_pair_fn sincos;
    nbi_vmath_most_fn most;
    nbi_vmath_above_fn exp_above;
} nbi_vmath;

/* The functions for an available instruction set. A set this library was built without
 * gives the plain ones. */
const nbi_vmath *nbi_vmath_choose(nbi_isa isa, bool is_double);

/* Index 0 float, 1 double; one pair per object. */
extern const nbi_vmath nbi_vmath_plain[2];
extern const nbi_vmath nbi_vmath_avx2[2];
extern const nbi_vmath nbi_vmath_avx512[2];
extern const nbi_vmath nbi_vmath_neon[2];

#endif
