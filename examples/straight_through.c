/*
 * Training through a rounding.
 *
 * Weights are to be stored as one of five levels, -1, -1/2, 0, 1/2, 1. The rounding that takes them
 * there is flat, so its gradient is 0 and nothing is learned. Rounding afterwards what was learned
 * without it is no better than luck. The straight-through estimator takes the value of the rounded
 * weight and the gradient as if it had not been rounded: one call, nb_straight_through.
 *
 * The task: y = w x with fixed inputs x whose elements depend on each other, and w to be found among
 * the levels. It was made with weights on the levels, so a loss of 0 exists.
 */
#include <math.h>
#include <nabla.h>
#include <stdio.h>

enum { WEIGHTS = 6, ROWS = 40, STEPS = 400 };

static nb_var on_levels(nb_var w) { return nb_clamp(nb_div(nb_round(nb_mul(2, w)), 2), -1, 1); }

static double train(nb_tape *t, const double *x, const double *y, bool straight, double *w)
{
    double g[WEIGHTS], loss = 0;
    nb_mark start = nb_tape_mark(t);
    for (int step = 0; step <= STEPS; step++) {
        nb_var in = nb_tensor(t, "w", NB_SHAPE(WEIGHTS), w), rounded = on_levels(in);
        nb_var used = straight ? nb_straight_through(rounded, in) : rounded;
        nb_var out = nb_matmul(nb_constant_tensor(t, NB_SHAPE(ROWS, WEIGHTS), x), used);
        nb_var f = nb_mean(nb_square(nb_sub(out, nb_constant_tensor(t, NB_SHAPE(ROWS), y))));
        nb_backward(f);
        nb_read_grad(in, g, WEIGHTS);
        loss = nb_value(f);
        for (int k = 0; k < WEIGHTS && step < STEPS; k++)
            w[k] -= 0.02 * g[k];
        nb_rewind(start);
    }
    return loss;
}

int main(void)
{
    static const double level[WEIGHTS] = {1, -0.5, 0, 0.5, -1, 0.5};
    double x[ROWS * WEIGHTS], y[ROWS], w[2][WEIGHTS], loss[2];
    nb_tape *t = nb_tape_new(NULL);
    nb_rng r = nb_rng_seed(4);
    for (int i = 0; i < ROWS; i++) {
        const double shared = nb_rng_normal(&r);
        y[i] = 0;
        for (int k = 0; k < WEIGHTS; k++) {
            x[i * WEIGHTS + k] = nb_rng_normal(&r) + shared;
            y[i] += level[k] * x[i * WEIGHTS + k];
        }
    }
    for (int k = 0; k < WEIGHTS; k++)
        w[0][k] = w[1][k] = 0.1;
    for (int straight = 0; straight < 2; straight++) {
        loss[straight] = train(t, x, y, straight, w[straight]);
        printf("%-17s loss %.4f, weights",
               straight ? "straight through:" : "as it is:", loss[straight]);
        for (int k = 0; k < WEIGHTS; k++)
            printf(" %4.1f", fmax(-1, fmin(1, round(2 * w[straight][k]) / 2)) + 0.0);
        puts("");
    }
    const bool good = nb_status(t) == NB_OK && loss[0] > 1 && loss[1] < 1e-12;
    puts(good ? "The levels were found." : nb_status(t) ? nb_message(t) : "They were not found.");
    nb_tape_free(t);
    return good ? 0 : 1;
}
