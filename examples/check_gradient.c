/*
 * Is a gradient written by hand right?
 *
 * Logistic regression with a ridge, in plain C: rows x_i of 4 features, labels y_i of 0 or 1,
 *
 *     f(w, b) = 1/m sum_i [ log(1 + e^z_i) - y_i z_i ] + r/2 |w|^2,     z_i = <w, x_i> + b
 *     df/dw   = 1/m sum_i (s(z_i) - y_i) x_i + r w,    df/db = 1/m sum_i (s(z_i) - y_i)
 *
 * where s is the logistic function. Nothing below uses nabla but the checks. The gradient can be asked
 * to make one of five mistakes; call the program with the name of one, or without to see the reports
 * on all of them and on the gradient without a mistake.
 */
#include <math.h>
#include <nabla.h>
#include <stdio.h>
#include <string.h>

enum { ROWS = 12, FEATURES = 4, N = FEATURES + 1 };

typedef enum bug { NONE, SIGN, SUM, STALE, SHIFT, RIDGE, BUGS } bug;

static const char *const names[BUGS] = {"none", "sign", "sum", "stale", "shift", "ridge"};
static const char *const mistakes[BUGS] = {
    "none",
    "the sign is turned",
    "the sum over the rows is not divided by their number",
    "the residuals are those of the last evaluation, wherever that was",
    "the feature next to the right one is taken",
    "the ridge's part overwrites the data's instead of being added",
};

typedef struct problem {
    double x[ROWS][FEATURES], y[ROWS], ridge;
    double z[ROWS]; /* of the last evaluation */
    bug bug;
} problem;

static double f(const double *w, size_t n, void *context)
{
    problem *p = context;
    double sum = 0, norm = 0;
    for (int i = 0; i < ROWS; i++) {
        double z = w[n - 1];
        for (size_t j = 0; j + 1 < n; j++)
            z += w[j] * p->x[i][j];
        p->z[i] = z;
        sum += fmax(z, 0) + log1p(exp(-fabs(z))) - p->y[i] * z;
    }
    for (size_t j = 0; j + 1 < n; j++)
        norm += w[j] * w[j];
    return sum / ROWS + p->ridge / 2 * norm;
}

static void g(const double *w, size_t n, double *gradient, void *context)
{
    problem *p = context;
    const double scale = p->bug == SIGN ? -1.0 / ROWS : p->bug == SUM ? 1 : 1.0 / ROWS;
    const double r = p->bug == SIGN ? -p->ridge : p->bug == SUM ? p->ridge * ROWS : p->ridge;
    if (p->bug != STALE)
        f(w, n, p);
    for (size_t j = 0; j < n; j++)
        gradient[j] = 0;
    for (int i = 0; i < ROWS; i++) {
        const double e = scale * (1 / (1 + exp(-p->z[i])) - p->y[i]);
        for (size_t j = 0; j + 1 < n; j++)
            gradient[j] += e * p->x[i][j];
        gradient[n - 1] += e;
    }
    for (size_t j = 0; j + 1 < n; j++)
        gradient[j] = (p->bug == RIDGE ? 0 : gradient[j]) + r * w[j];
    for (size_t j = 0; p->bug == SHIFT && j + 1 < n; j++)
        gradient[j] = gradient[j + 1];
}

static nb_verdict check(problem *p, bug mistake, nb_check_report *report)
{
    static const double w[N] = {0.4, -0.7, 1.1, 0.25, -0.3};
    const nb_check_input layout[] = {{.name = "w", .shape = NB_SHAPE(FEATURES)},
                                     {.name = "b", .shape = {.rank = -1}}};
    p->bug = mistake;
    return nb_check_arrays(
        &(nb_check_plain){.f = f, .g = g, .context = p, .n = N, .x = w, .n_in = 2, .in = layout},
        &(nb_check_options){.seed = 1, .batch = ROWS}, report);
}

int main(int argc, char **argv)
{
    problem p = {.ridge = 0.1};
    nb_rng rng = nb_rng_seed(3);
    int surprises = 0, known = argc < 2;
    for (int i = 0; i < ROWS; i++) {
        for (int j = 0; j < FEATURES; j++)
            p.x[i][j] = ldexp((double)nb_rng_below(&rng, 64) - 32, -4);
        p.y[i] = (double)nb_rng_below(&rng, 2);
    }
    for (int k = NONE; k < BUGS; k++) {
        nb_check_report report;
        if (argc > 1 && strcmp(argv[1], names[k]) != 0)
            continue;
        known = 1;
        check(&p, (bug)k, &report);
        surprises += nb_check_ok(&report) != (k == NONE);
        printf("mistake: %s\n%s\n", mistakes[k], report.text);
    }
    if (!known)
        fprintf(stderr, "usage: check_gradient [none|sign|sum|stale|shift|ridge]\n");
    return !known || surprises;
}
