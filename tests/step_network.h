/*
 * A small network whose parameters and data are lent, for the tests of frozen steps.
 */
#ifndef NABLA_TESTS_STEP_NETWORK_H
#define NABLA_TESTS_STEP_NETWORK_H

#include <nabla.h>

enum { ROWS = 5, IN = 3, HIDDEN = 4, PARAMETERS = IN * HIDDEN + HIDDEN + HIDDEN + 1 };

typedef struct network {
    double p[PARAMETERS], x[ROWS * IN], y[ROWS], g[PARAMETERS];
} network;

static inline void fill(double *v, int n, uint64_t seed)
{
    nb_rng r = nb_rng_seed(seed);
    for (int i = 0; i < n; i++)
        v[i] = nb_rng_normal(&r);
}

static inline void change(network *n, uint64_t seed)
{
    fill(n->p, PARAMETERS, seed);
    fill(n->x, ROWS * IN, seed + 100);
    fill(n->y, ROWS, seed + 200);
}

static inline nb_var predict(nb_tape *t, network *n, nb_rng *rng)
{
    double *p = n->p, *g = n->g;
    const int b1 = IN * HIDDEN, w2 = b1 + HIDDEN, b2 = w2 + HIDDEN;
    nb_var x = nb_borrow_constant(t, NB_SHAPE(ROWS, IN), n->x);
    nb_var h = nb_dense(x, nb_borrow(t, NULL, NB_SHAPE(IN, HIDDEN), p, g),
                        nb_borrow(t, NULL, NB_SHAPE(HIDDEN), p + b1, g + b1), nb_tanh);
    h = rng ? nb_dropout(h, 0.5, rng) : h;
    return nb_affine(h, nb_borrow(t, NULL, NB_SHAPE(HIDDEN, 1), p + w2, g + w2),
                     nb_borrow(t, NULL, NB_SHAPE(1), p + b2, g + b2));
}

static inline nb_var squared(nb_tape *t, network *n, nb_rng *rng)
{
    nb_var y = nb_borrow_constant(t, NB_SHAPE(ROWS, 1), n->y);
    return nb_mean(nb_square(nb_sub(predict(t, n, rng), y)));
}

#endif
