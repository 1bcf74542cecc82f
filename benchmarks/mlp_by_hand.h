/*
 * The 8-8-1 tanh MLP that small steps are measured on: where its parameters stand in one array, how
 * they start, and a step of SGD on one sample by hand, with the gradient worked out.
 */
#ifndef NABLA_MLP_BY_HAND_H
#define NABLA_MLP_BY_HAND_H

#include <math.h>
#include <nabla.h>

enum {
    IN = 8,
    HIDDEN = 8,
    W1 = 0,
    B1 = IN * HIDDEN,
    W2 = B1 + HIDDEN,
    B2 = W2 + HIDDEN,
    PARAMETERS = B2 + 1
};

static const double rate = 0.01;

/* One step by hand; returns the loss. */
static inline double by_hand(double *p, const double *x, double y)
{
    double h[HIDDEN], o = p[B2], loss;
    for (int j = 0; j < HIDDEN; j++) {
        double s = p[B1 + j];
        for (int i = 0; i < IN; i++)
            s += x[i] * p[W1 + i * HIDDEN + j];
        h[j] = tanh(s);
        o += h[j] * p[W2 + j];
    }
    const double e = o - y, go = 2 * e;
    loss = e * e;
    for (int j = 0; j < HIDDEN; j++) {
        const double gs = go * p[W2 + j] * (1 - h[j] * h[j]);
        p[W2 + j] -= rate * go * h[j];
        p[B1 + j] -= rate * gs;
        for (int i = 0; i < IN; i++)
            p[W1 + i * HIDDEN + j] -= rate * gs * x[i];
    }
    p[B2] -= rate * go;
    return loss;
}

static inline void start(double *p)
{
    nb_rng r = nb_rng_seed(7);
    for (int i = 0; i < PARAMETERS; i++)
        p[i] = 0.4 * nb_rng_normal(&r);
}

#endif
