/*
 * Newton's method with exact second derivatives.
 *
 * Rosenbrock's valley, the sum of 100 (x[i+1] - x[i]^2)^2 + (1 - x[i])^2, has its minimum 0 at
 * (1, ..., 1), at the end of a curved valley along which the descent of gradients crawls. Newton's
 * method solves H s = -g for the step s, and close to the minimum doubles the number of right
 * digits with each. Far from it H may not be positive definite; then a multiple of the identity is
 * added until it is, and a step that does not go down enough is halved.
 *
 * nb_hessian records the gradient as a graph and sweeps that. Here the result can be checked: H is
 * tridiagonal, with a closed form.
 */
#include <math.h>
#include <nabla.h>
#include <stdio.h>
#include <string.h>

enum { N = 10, MOST = 50 };

static nb_var rosenbrock(nb_var x)
{
    nb_var a = nb_slice(x, 0, 0, -1, 1), b = nb_slice(x, 0, 1, NB_END, 1);
    nb_var valley = nb_mul(100, nb_square(nb_sub(b, nb_square(a))));
    return nb_sum(nb_add(valley, nb_square(nb_sub(1, a))));
}

/* f and, where they are not NULL, its gradient and Hessian. The tape is left as it was. */
static double evaluate(nb_tape *t, const double *x, double *g, double H[N][N])
{
    nb_mark start = nb_tape_mark(t);
    nb_var in = nb_tensor(t, "x", NB_SHAPE(N), x), f = rosenbrock(in);
    double value = nb_value(f);
    if (H)
        nb_hessian(f, 1, &in, H[0]);
    if (g && nb_backward(f) == NB_OK)
        nb_read_grad(in, g, N);
    nb_rewind(start);
    return value;
}

/* Solves (H + shift I) s = -g by Cholesky; false if the matrix is not positive definite. */
static bool solve(double H[N][N], double shift, const double *g, double *s)
{
    double L[N][N];
    for (int i = 0; i < N; i++) {
        s[i] = -g[i];
        for (int j = 0; j <= i; j++) {
            double d = H[i][j] + (i == j ? shift : 0);
            for (int k = 0; k < j; k++)
                d -= L[i][k] * L[j][k];
            if (i == j && d <= 0)
                return false;
            L[i][j] = i == j ? sqrt(d) : d / L[j][j];
        }
        for (int k = 0; k < i; k++)
            s[i] -= L[i][k] * s[k];
        s[i] /= L[i][i];
    }
    for (int i = N - 1; i >= 0; i--) {
        for (int k = i + 1; k < N; k++)
            s[i] -= L[k][i] * s[k];
        s[i] /= L[i][i];
    }
    return true;
}

/* Moves x by the longest of s, s/2, s/4, ... that goes down enough. Returns how much of s. */
static double move(nb_tape *t, double f, double *x, const double *g, const double *s)
{
    double to[N], slope = 0, part = 2;
    for (int i = 0; i < N; i++)
        slope += g[i] * s[i];
    do {
        part /= 2;
        for (int i = 0; i < N; i++)
            to[i] = x[i] + part * s[i];
    } while (part > 1e-9 && !(evaluate(t, to, NULL, NULL) <= f + 1e-4 * part * slope));
    memcpy(x, to, sizeof to);
    return part;
}

/* The largest difference from the closed form. */
static double error_of(double H[N][N], const double *x)
{
    double most = 0, closed[N][N] = {{0}};
    for (int i = 0; i + 1 < N; i++) {
        closed[i][i] += 1200 * x[i] * x[i] - 400 * x[i + 1] + 2;
        closed[i + 1][i + 1] = 200;
        closed[i][i + 1] = closed[i + 1][i] = -400 * x[i];
    }
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++)
            most = fmax(most, fabs(H[i][j] - closed[i][j]));
    return most;
}

int main(void)
{
    double x[N], g[N], s[N], H[N][N], norm = 1, error = 0;
    nb_tape *t = nb_tape_new(NULL);
    for (int i = 0; i < N; i++)
        x[i] = i % 2 ? 2 : 0;

    int step = 0;
    puts("step             f     |gradient|  shift    part of the step");
    for (;; step++) {
        double f = evaluate(t, x, g, H), shift = 0;
        error = fmax(error, error_of(H, x));
        norm = 0;
        for (int i = 0; i < N; i++)
            norm = fmax(norm, fabs(g[i]));
        printf("%4d  %12.6f  %12.6f", step, f, norm);
        if (norm < 1e-9 || step == MOST || nb_status(t))
            break;
        while (!solve(H, shift, g, s))
            shift = shift > 0 ? 2 * shift : 1;
        printf("  %5g  %18g\n", shift, move(t, f, x, g, s));
    }

    bool good = nb_status(t) == NB_OK && norm < 1e-9 && error < 1e-9;
    for (int i = 0; i < N; i++)
        good = good && fabs(x[i] - 1) < 1e-9;
    printf("\n\n%s\n", nb_status(t) ? nb_message(t)
                       : good       ? "At the minimum, and every Hessian was right."
                                    : "The minimum was not found.");
    nb_tape_free(t);
    return good ? 0 : 1;
}
