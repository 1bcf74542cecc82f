/*
 * The cell of a long short-term memory, over n rows of `units` cells.
 *
 * A row of z holds the arguments of its four gates, [i f g o], `units` of each:
 *
 *     i, f, o = sigmoid of theirs,  g = tanh of its own
 *     c = f before + i g,           h = o tanh c
 *
 * Backward from dh, the adjoint of h, and dc, that which reaches c from the step after:
 *
 *     do = dh tanh c                          dc += dh o tanh'(c)
 *     di = dc g,  df = dc before,  dg = dc i,  and each times its gate's slope gives dz
 *     dc becomes dc f, the adjoint of `before`
 *
 * Only z and c are kept from the forward pass. The slopes are made from them without cancellation:
 * with t = sigmoid(-|x|), the lesser of sigmoid and its complement,
 *
 *     sigmoid'(x) = t (1 - t)        tanh'(x) = 4 u (1 - u),  u = sigmoid(-2 |x|)
 *
 * which s (1 - s) and 1 - tanh^2 would lose in the tails. 0 times anything is 0.
 */
#ifndef NABLA_SRC_LSTM_H
#define NABLA_SRC_LSTM_H

#include "kernels/cpu.h"

#include <stdint.h>

/* Arrays of the kernel's type: z, dz [n 4 units], the others [n units]. */
typedef struct nbi_lstm_cells {
    int64_t n, units;
    const void *z, *before, *c;
    const void *g, *later; /* dh is the sum of the two; later is NULL at the last step */
    void *dc, *dz;
} nbi_lstm_cells;

typedef struct nbi_lstm_kernel {
    void (*forward)(const nbi_lstm_cells *p, void *c, void *h);
    void (*reverse)(const nbi_lstm_cells *p);
} nbi_lstm_kernel;

/* The kernel for an available instruction set. A set this library was built without gives the plain
 * one. Sets agree within a few units in the last place. */
const nbi_lstm_kernel *nbi_lstm_choose(nbi_isa isa, bool is_double);

/* Index 0 float, 1 double; one pair per object. */
extern const nbi_lstm_kernel nbi_lstm_plain[2];
extern const nbi_lstm_kernel nbi_lstm_avx2[2];
extern const nbi_lstm_kernel nbi_lstm_avx512[2];
extern const nbi_lstm_kernel nbi_lstm_neon[2];

#endif
