/*
 * What a recorded tensor node costs when the tensors are tiny.
 *
 * An 8-8-1 tanh MLP on one sample: recorded anew each step with tensor ops, squared error, backward,
 * one SGD update of its 81 parameters, rewind. Beside it, in the same run, the same step written by
 * hand in plain C with the gradient worked out. Before timing, both are run for some steps from the
 * same weights and must agree.
 */
#include "bench.h"
#include "mlp_by_hand.h"

enum { STEPS = 2000, MOST = 64 };

typedef struct model {
    nb_tape *t;
    nb_var w1, b1, w2, b2;
    nb_mark start;
    double p[PARAMETERS], g[PARAMETERS];
    size_t nodes; /* recorded in a step */
} model;

static bool open_model(model *m)
{
    m->t = nb_tape_new(NULL);
    if (!m->t)
        return false;
    m->w1 = nb_borrow(m->t, "w1", NB_SHAPE(IN, HIDDEN), m->p + W1, m->g + W1);
    m->b1 = nb_borrow(m->t, "b1", NB_SHAPE(HIDDEN), m->p + B1, m->g + B1);
    m->w2 = nb_borrow(m->t, "w2", NB_SHAPE(HIDDEN, 1), m->p + W2, m->g + W2);
    m->b2 = nb_borrow(m->t, "b2", NB_SHAPE(1), m->p + B2, m->g + B2);
    m->start = nb_tape_mark(m->t);
    return true;
}

static double step(model *m, const double *x, double y)
{
    nb_var input = nb_borrow_constant(m->t, NB_SHAPE(IN), x);
    nb_var hidden = nb_tanh(nb_affine(input, m->w1, m->b1));
    nb_var output = nb_affine(hidden, m->w2, m->b2);
    nb_var loss = nb_square(nb_sub(output, y));
    double value = nb_value(loss);
    nb_backward(loss);
    m->nodes = nb_count(m->t) - m->start.length;
    nb_rewind(m->start);
    for (int i = 0; i < PARAMETERS; i++)
        m->p[i] -= rate * m->g[i];
    return value;
}

int main(int argc, char **argv)
{
    const int repeats = bench_quick(argc, argv) ? 15 : 63;
    static model m;
    double x[64][IN], y[64], p[PARAMETERS], tape[MOST], hand[MOST], worst = 0, sink = 0;
    nb_rng r = nb_rng_seed(1);
    for (int k = 0; k < 64; k++) {
        for (int i = 0; i < IN; i++)
            x[k][i] = nb_rng_normal(&r);
        y[k] = sin(x[k][0] + x[k][1]);
    }
    if (!open_model(&m))
        return 1;
    start(m.p);
    start(p);
    for (int k = 0; k < 500; k++)
        sink += fabs(step(&m, x[k % 64], y[k % 64]) - by_hand(p, x[k % 64], y[k % 64]));
    for (int i = 0; i < PARAMETERS; i++)
        worst = fmax(worst, fabs(m.p[i] - p[i]));
    if (nb_status(m.t) != NB_OK || !(worst < 1e-12) || !(sink < 1e-9)) {
        fprintf(stderr, "small: the tape's weights are %g from the hand-written ones: %s\n", worst,
                nb_message(m.t));
        return 1;
    }
    for (int k = 0; k < repeats; k++) {
        double a = bench_now();
        for (int i = 0; i < STEPS; i++)
            sink += step(&m, x[i % 64], y[i % 64]);
        double b = bench_now();
        for (int i = 0; i < STEPS; i++)
            sink += by_hand(p, x[i % 64], y[i % 64]);
        hand[k] = bench_now() - b;
        tape[k] = b - a;
    }
    double us = 1e6 * bench_median(tape, (size_t)repeats) / STEPS;
    double hand_us = 1e6 * bench_median(hand, (size_t)repeats) / STEPS;
    bench_line("small", "mlp_8_8_1", "us_per_step", us, "us", "<=0.6");
    bench_line("small", "mlp_8_8_1", "ns_per_node", 1e3 * us / (double)m.nodes, "ns", "-");
    bench_line("small", "mlp_8_8_1", "hand_us_per_step", hand_us, "us", "-");
    bench_line("small", "mlp_8_8_1", "over_hand", us / hand_us, "x", "-");
    nb_tape_free(m.t);
    return isfinite(sink) ? 0 : 1;
}
