/*
 * Logistic regression, in its two stages.
 *
 * The first stage is linear, the second bends it into a probability and says how surprising the label
 * y (0 or 1) is:
 *
 *     z = <w, x> + b;        a = 1 / (1 + e^-z),    L = -y log a - (1 - y) log(1 - a)
 *
 * Each stage has its own derivatives. Of the second, dL/da = (a - y) / (a (1 - a)) and da/dz = a (1 - a),
 * whose product is simply a - y; of the first, dz/dw = x and dz/db = 1. The chain rule joins them:
 *
 *     dL/dz = a - y,    dL/dw = x (a - y),    dL/db = a - y
 *
 * That is backpropagation by hand, and what a sweep does edge by edge. For m samples in the rows of
 * X the mean loss has the gradient X'(a - y) / m, and gradient descent follows it.
 *
 * The samples are two normal clouds of unit variance, one about c and one about -c. Bayes' rule then
 * says what the best w is, 2 c, with b = 0, and how often it is right, Phi(|c|). The loss is convex, so
 * that any good method must end where descent does: L-BFGS is asked.
 */
#include <math.h>
#include <nabla.h>
#include <stdio.h>

enum { SAMPLES = 2000, FEATURES = 2, STEPS = 200 };

static const double centre[FEATURES] = {0.9, -0.6};

/* ---- one sample, by hand and by sweep -------------------------------------------------------- */

/* Of the two terms of the loss, the label leaves one. */
static bool one_sample(nb_tape *t, double x, double y, bool draw)
{
    nb_mark start = nb_tape_mark(t);
    nb_var w = nb_input(t, "w", 0.5), b = nb_input(t, "b", -0.25), in = nb_constant(t, x);
    nb_var z = nb_name(nb_fma(w, in, b), "z"), a = nb_name(nb_sigmoid(z), "a");
    nb_var loss = nb_neg(nb_log(y == 1 ? a : nb_sub(1, a)));
    nb_backward(loss);
    if (draw) {
        nb_print_graph_with(stdout, loss, &(nb_view){.columns = 110});
        puts("\n     x  y        a    a - y       dw   by sweep       db   by sweep");
    }
    const double by_hand = 1 / (1 + exp(-(0.5 * x - 0.25))) - y;
    printf("%6.2f  %g  %.5f %8.5f %8.5f   %8.5f %8.5f   %8.5f\n", x, y, nb_value(a), by_hand,
           x * by_hand, nb_grad(w), by_hand, nb_grad(b));
    const bool good = fabs(nb_grad(z) - by_hand) < 4e-15 && fabs(nb_grad(b) - by_hand) < 4e-15 &&
                      fabs(nb_grad(w) - x * by_hand) < 4e-15;
    nb_rewind(start);
    return good;
}

/* ---- a data set ------------------------------------------------------------------------------ */

typedef struct problem {
    nb_tape *tape;
    nb_params *params;
    nb_linear_layer layer;
    double x[SAMPLES][FEATURES], y[SAMPLES];
} problem;

static void make_clouds(problem *p)
{
    nb_rng r = nb_rng_seed(3);
    for (int i = 0; i < SAMPLES; i++) {
        p->y[i] = i % 2;
        for (int k = 0; k < FEATURES; k++)
            p->x[i][k] = (i % 2 ? 1 : -1) * centre[k] + nb_rng_normal(&r);
    }
}

/* z for all samples. */
static nb_var scores(const problem *p, const nb_pass *m)
{
    nb_var x = nb_borrow_constant(p->tape, NB_SHAPE(SAMPLES, FEATURES), p->x);
    return nb_flatten(nb_linear_apply(&p->layer, m, x, NULL));
}

/* Records the mean loss and sweeps: its gradient is then in nb_params_grads, w first and then b. Both
 * stages are one operation, exact for any z. */
static nb_code evaluate(void *context, double *loss)
{
    problem *p = context;
    nb_mark start = nb_tape_mark(p->tape);
    nb_pass m = nb_training_pass(p->params, p->tape, NULL);
    nb_var y = nb_borrow_constant(p->tape, NB_SHAPE(SAMPLES), p->y);
    nb_var f = nb_logistic_loss(scores(p, &m), y, NULL);
    *loss = nb_value(f);
    const nb_code code = nb_backward(f);
    nb_rewind(start);
    return code;
}

/* X'(a - y) / m in plain C. Returns the largest difference from the sweep's gradient. */
static double by_hand(const problem *p, const double *w, const double *g)
{
    double hand[FEATURES + 1] = {0}, off = 0;
    for (int i = 0; i < SAMPLES; i++) {
        const double z = w[0] * p->x[i][0] + w[1] * p->x[i][1] + w[FEATURES];
        const double residual = 1 / (1 + exp(-z)) - p->y[i];
        for (int k = 0; k < FEATURES; k++)
            hand[k] += p->x[i][k] * residual / SAMPLES;
        hand[FEATURES] += residual / SAMPLES;
    }
    for (int k = 0; k <= FEATURES; k++)
        off = fmax(off, fabs(g[k] - hand[k]));
    return off;
}

/* Gradient descent. Returns whether each gradient on the way was that by hand, to rounding. */
static bool descend(problem *p)
{
    double *w = nb_params_values(p->params), *g = nb_params_grads(p->params), loss, off = 0;
    puts("\n  step     loss       w0       w1        b");
    for (int step = 0; step <= STEPS && w && g; step++) {
        if (evaluate(p, &loss))
            return false;
        off = fmax(off, by_hand(p, w, g));
        if (step % 40 == 0)
            printf("%6d  %.5f %8.5f %8.5f %8.5f\n", step, loss, w[0], w[1], w[2]);
        for (int k = 0; k <= FEATURES; k++)
            w[k] -= 2 * g[k];
    }
    return off < 1e-14;
}

static double share_right(const problem *p)
{
    nb_mark start = nb_tape_mark(p->tape);
    nb_pass m = nb_evaluation_pass(p->params, p->tape);
    const double *z = nb_data(scores(p, &m));
    int right = 0;
    for (int i = 0; i < SAMPLES && z; i++)
        right += (z[i] > 0) == (p->y[i] == 1);
    nb_rewind(start);
    return (double)right / SAMPLES;
}

/* Starts again from 0 with L-BFGS. Returns the largest difference of the parameters. */
static double compare(problem *p)
{
    double *w = nb_params_values(p->params), descent[FEATURES + 1], off = 0;
    nb_lbfgs_result result;
    nb_reason why;
    for (int k = 0; k <= FEATURES; k++) {
        descent[k] = w[k];
        w[k] = 0;
    }
    if (nb_lbfgs_params(p->params, evaluate, p, NULL, &result, &why)) {
        puts(why.text);
        return HUGE_VAL;
    }
    for (int k = 0; k <= FEATURES; k++)
        off = fmax(off, fabs(w[k] - descent[k]));
    printf("L-BFGS  %.5f %8.5f %8.5f %8.5f\n", result.f, w[0], w[1], w[2]);
    printf(" Bayes           %8.5f %8.5f %8.5f\n", 2 * centre[0], 2 * centre[1], 0.0);
    return off;
}

int main(void)
{
    static problem p;
    p.tape = nb_tape_new(NULL);
    p.params = nb_params_new(NULL);
    p.layer = nb_linear_new(p.params, "logistic", FEATURES, 1,
                            &(nb_layer_options){.weight = {.rule = NB_INIT_ZEROS}}, NULL);
    make_clouds(&p);

    bool good = one_sample(p.tape, 2, 1, true);
    good = one_sample(p.tape, -1, 1, false) && good;
    good = one_sample(p.tape, 3, 0, false) && good;
    good = one_sample(p.tape, -3, 0, false) && good;

    good = descend(&p) && good;
    const double right = share_right(&p), apart = compare(&p);
    const double best = 0.5 * erfc(-hypot(centre[0], centre[1]) / sqrt(2));
    printf(
        "\n%.1f %% are on the right side of the line; by Bayes' rule it is %.1f %% on average.\n",
        100 * right, 100 * best);
    const double *w = nb_params_values(p.params);
    good = good && apart < 1e-6 && fabs(right - best) < 0.02 && fabs(w[0] - 2 * centre[0]) < 0.2 &&
           fabs(w[1] - 2 * centre[1]) < 0.2 && fabs(w[2]) < 0.2 && !nb_status(p.tape);
    printf("\n%s\n", nb_status(p.tape) ? nb_message(p.tape)
                     : good ? "By hand and by sweep, by descent and by L-BFGS: they agree."
                            : "They do not agree.");
    nb_params_free(p.params);
    nb_tape_free(p.tape);
    return good ? 0 : 1;
}
