/*
 * Regression with a Gaussian process, its hyperparameters fitted by Newton's method.
 *
 * A function f is known at N points with noise, y = f(x) + noise. Say that f is a Gaussian process:
 * its values at any points are jointly normal, with covariance a^2 exp(-(x - x')^2 / (2 l^2)). Then
 * y is normal with covariance
 *
 *     K = a^2 exp(-(x[i] - x[j])^2 / (2 l^2)) + s^2 I
 *
 * and the length l, the amplitude a and the noise s are those that make y most likely:
 *
 *     -log p(y) = y' K^-1 y / 2 + log det K / 2 + N log(2 pi) / 2
 *
 * With K = L L' (Cholesky) the first term is |L^-1 y|^2 / 2 and the second the sum of the logarithms
 * of L's diagonal. The function is written down once, in the logarithms of l, a and s; nabla
 * differentiates through the factorisation, twice, so that Newton's method has its exact Hessian.
 * Where that is not positive definite, its own Cholesky factor does not exist: the error says so,
 * and a multiple of the identity is added until it does.
 */
#include <math.h>
#include <nabla.h>
#include <stdio.h>

enum { N = 60, P = 3, MOST = 60 };

static double truth(double x) { return sin(x) + 0.15 * x * cos(2 * x); }

/* Squared distances between rows x [n] and columns z [m]. */
static nb_var distances(nb_var x, nb_var z)
{
    return nb_square(nb_sub(nb_unsqueeze(x, -1), nb_unsqueeze(z, 0)));
}

/* log_theta: the logarithms of length, amplitude and noise. */
static nb_var covariance(nb_var log_theta, nb_var squares)
{
    nb_var length = nb_exp(nb_at(log_theta, 0)), amplitude = nb_exp(nb_at(log_theta, 1));
    nb_var shape = nb_exp(nb_div(squares, nb_mul(-2, nb_square(length))));
    return nb_mul(nb_square(amplitude), shape);
}

static nb_var factor(nb_var log_theta, nb_var x)
{
    nb_var noise = nb_exp(nb_at(log_theta, 2));
    nb_var own = nb_mul(nb_square(noise), nb_eye(x.tape, N, N));
    return nb_cholesky(nb_add(covariance(log_theta, distances(x, x)), own));
}

/* -log p(y) */
static nb_var surprise(nb_var log_theta, nb_var x, nb_var y)
{
    nb_var L = factor(log_theta, x), white = nb_solve_triangular(L, y, NB_LOWER);
    nb_var fit = nb_sum(nb_square(white)), size = nb_cholesky_logdet(L);
    return nb_mul(0.5, nb_add(nb_add(fit, size), N * log(2 * acos(-1))));
}

/* The value at theta and, where they are not NULL, gradient and Hessian. */
static double evaluate(const double *theta, nb_var x, nb_var y, double *g, double *H)
{
    nb_mark start = nb_tape_mark(x.tape);
    nb_var at = nb_tensor(x.tape, "theta", NB_SHAPE(P), theta), f = surprise(at, x, y);
    const double value = nb_value(f);
    if (H)
        nb_hessian(f, 1, &at, H);
    if (g && nb_backward(f) == NB_OK)
        nb_read_grad(at, g, P);
    nb_rewind(start);
    return value;
}

/* The step of Newton's method, with the least shift of 0, 1, 2, 4, … that makes H + shift I positive
 * definite. Returns the shift. */
static double newton(nb_tape *t, const double *g, const double *H, double *step)
{
    for (double shift = 0;; shift = shift > 0 ? 2 * shift : 1) {
        nb_mark start = nb_tape_mark(t);
        nb_var A = nb_constant_tensor(t, NB_SHAPE(P, P), H),
               b = nb_constant_tensor(t, NB_SHAPE(P), g);
        nb_var L = nb_cholesky(nb_add(A, nb_mul(shift, nb_eye(t, P, P))));
        const bool singular = nb_status(t) == NB_ERR_SINGULAR;
        if (singular)
            nb_clear(t);
        else
            nb_read(nb_neg(nb_cholesky_solve(L, b)), step, P);
        nb_rewind(start);
        if (!singular)
            return shift;
    }
}

/* Moves theta by the longest of s, s/2, s/4, … that goes down. */
static void move(double *theta, double f, nb_var x, nb_var y, const double *s)
{
    double to[P], part = 2;
    do {
        part /= 2;
        for (int i = 0; i < P; i++)
            to[i] = theta[i] + part * s[i];
    } while (part > 1e-9 && !(evaluate(to, x, y, NULL, NULL) <= f));
    for (int i = 0; i < P; i++)
        theta[i] = to[i];
}

/* Fits theta; returns the largest slope that is left. */
static double fit(double *theta, nb_var x, nb_var y)
{
    double g[P], H[P * P], step[P], shift = 0;
    puts("step  -log p(y)   length  amplitude    noise  shift");
    for (int k = 0;; k++) {
        const double f = evaluate(theta, x, y, g, H);
        const double slope = fmax(fabs(g[0]), fmax(fabs(g[1]), fabs(g[2])));
        printf("%4d  %9.4f  %7.4f  %9.4f  %7.4f", k, f, exp(theta[0]), exp(theta[1]),
               exp(theta[2]));
        if (slope < 1e-6 || k == MOST || nb_status(x.tape)) {
            puts("");
            return slope;
        }
        shift = newton(x.tape, g, H, step);
        printf("  %5g\n", shift);
        move(theta, f, x, y, step);
    }
}

/* Mean and deviation of f at z [m], given y: mean k' K^-1 y, variance a^2 - |L^-1 k|^2. Returns how
 * many true values lie within two deviations. */
static int predict(const double *theta, nb_var x, nb_var y, int m, const double *z)
{
    nb_tape *t = x.tape;
    nb_var at = nb_constant_tensor(t, NB_SHAPE(P), theta), L = factor(at, x);
    nb_var k = covariance(at, distances(x, nb_constant_tensor(t, NB_SHAPE(m), z)));
    nb_var mean = nb_matmul(nb_cholesky_solve(L, y), k);
    nb_var white = nb_solve_triangular(L, k, NB_LOWER);
    nb_var known = nb_sum_over(nb_square(white), NB_AXES(0), false);
    nb_var deviation = nb_sqrt(nb_sub(exp(2 * theta[1]), known));
    const double *mu = nb_data(mean), *sd = nb_data(deviation);
    int within = 0;
    puts("\n     x      f(x)      mean  deviation");
    for (int i = 0; mu && sd && i < m; i++) {
        within += fabs(mu[i] - truth(z[i])) < 2 * sd[i];
        printf("%6.2f  %8.4f  %8.4f  %9.4f\n", z[i], truth(z[i]), mu[i], sd[i]);
    }
    return within;
}

int main(void)
{
    static const double z[] = {0.5, 2.25, 4.1, 5.9, 7.7, 9.3, 12};
    double xs[N], ys[N], theta[P] = {log(0.3), log(1), log(1)};
    nb_rng r = nb_rng_seed(1);
    for (int i = 0; i < N; i++) {
        xs[i] = 10 * nb_rng_uniform(&r);
        ys[i] = truth(xs[i]) + 0.15 * nb_rng_normal(&r);
    }
    nb_tape *t = nb_tape_new(NULL);
    nb_var x = nb_constant_tensor(t, NB_SHAPE(N), xs), y = nb_constant_tensor(t, NB_SHAPE(N), ys);
    const double slope = fit(theta, x, y);
    const int points = sizeof z / sizeof *z, within = predict(theta, x, y, points, z);

    const bool good = nb_status(t) == NB_OK && slope < 1e-6 && within >= points - 1;
    printf("\n%s\n", nb_status(t) ? nb_message(t)
                     : good       ? "The likelihood is stationary, and the truth within the band."
                                  : "The fit failed.");
    nb_tape_free(t);
    return good ? 0 : 1;
}
