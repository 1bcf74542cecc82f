/*
 * A cubic through noisy points, by gradient descent.
 *
 * The model is y = X w, with the powers 1, x, x^2, x^3 in the columns of X; the loss is the mean
 * squared residual. The weights live outside the tape: nb_borrow lends them to it, together with
 * the place where every backward sweep writes their gradient. A step records, sweeps, rewinds to
 * the mark and moves the weights; the tape's memory is used over and over.
 *
 * Least squares has a closed form, so there is something to be checked against: at the minimum the
 * residual is orthogonal to the columns of X, that is (X'X) w = X'y, solved here by elimination.
 */
#include <math.h>
#include <nabla.h>
#include <stdio.h>

enum { POINTS = 64, POWERS = 4, STEPS = 1000 };

static void make_points(double *X, double *y)
{
    nb_rng r = nb_rng_seed(7);
    for (int i = 0; i < POINTS; i++) {
        double x = 2 * nb_rng_uniform(&r) - 1;
        for (int k = 0; k < POWERS; k++)
            X[i * POWERS + k] = k ? x * X[i * POWERS + k - 1] : 1;
        y[i] = 1 - 2 * x + 3 * x * x * x + 0.1 * nb_rng_normal(&r);
    }
}

/* (X'X) w = X'y. The matrix is positive definite, so elimination needs no pivoting. */
static void solve(const double *X, const double *y, double *w)
{
    double a[POWERS][POWERS + 1] = {{0}};
    for (int i = 0; i < POINTS; i++)
        for (int j = 0; j < POWERS; j++) {
            for (int k = 0; k < POWERS; k++)
                a[j][k] += X[i * POWERS + j] * X[i * POWERS + k];
            a[j][POWERS] += X[i * POWERS + j] * y[i];
        }
    for (int p = 0; p < POWERS; p++)
        for (int j = 0; j < POWERS; j++) {
            double factor = j == p ? 0 : a[j][p] / a[p][p];
            for (int k = p; k <= POWERS; k++)
                a[j][k] -= factor * a[p][k];
        }
    for (int j = 0; j < POWERS; j++)
        w[j] = a[j][POWERS] / a[j][j];
}

int main(void)
{
    double X[POINTS * POWERS], y[POINTS], w[POWERS] = {0}, dw[POWERS], best[POWERS];
    make_points(X, y);
    solve(X, y, best);

    nb_tape *t = nb_tape_new(NULL);
    nb_var inputs = nb_borrow_constant(t, NB_SHAPE(POINTS, POWERS), X);
    nb_var targets = nb_borrow_constant(t, NB_SHAPE(POINTS), y);
    nb_mark start = nb_tape_mark(t);
    puts("  step  mean squared residual");
    for (int step = 0; step <= STEPS; step++) {
        nb_var weights = nb_borrow(t, "w", NB_SHAPE(POWERS), w, dw);
        nb_var loss = nb_mean(nb_square(nb_sub(nb_matmul(inputs, weights), targets)));
        if (step % 100 == 0)
            printf("%6d  %.6f\n", step, nb_value(loss));
        if (nb_backward(loss) != NB_OK)
            break;
        nb_rewind(start);
        for (int k = 0; k < POWERS; k++)
            w[k] -= 0.5 * dw[k];
    }

    puts("\npower  by descent  in closed form");
    bool good = nb_status(t) == NB_OK;
    for (int k = 0; k < POWERS; k++) {
        printf("%5d  %10.6f  %14.6f\n", k, w[k], best[k]);
        good = good && fabs(w[k] - best[k]) < 1e-6;
    }
    if (nb_status(t))
        printf("%s\n", nb_message(t));
    printf("\n%s\n", good ? "They agree." : "They do not agree.");
    nb_tape_free(t);
    return good ? 0 : 1;
}
