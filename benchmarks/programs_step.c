/*
 * What a frozen training step costs when the tensors are tiny: the 8-8-1 tanh MLP of small.c, one sample a
 * step, squared error, one SGD update of its 81 parameters. The sample is copied to the lent arrays, the
 * step runs, the update is a loop over the parameters, as a client would write it. Beside it, in
 * the same run, the step by hand. Both are first run from the same weights and must agree.
 */
#include "bench.h"
#include "mlp_by_hand.h"
#include "programs_step.h"

enum { SAMPLES = 64, STEPS = 2000, MOST = 64 };

typedef struct model {
    nb_frozen *f;
    double p[PARAMETERS], g[PARAMETERS], x[IN], y;
} model;

static bool open_model(model *m)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_var w1 = nb_borrow(t, "w1", NB_SHAPE(IN, HIDDEN), m->p + W1, m->g + W1);
    nb_var b1 = nb_borrow(t, "b1", NB_SHAPE(HIDDEN), m->p + B1, m->g + B1);
    nb_var w2 = nb_borrow(t, "w2", NB_SHAPE(HIDDEN, 1), m->p + W2, m->g + W2);
    nb_var b2 = nb_borrow(t, "b2", NB_SHAPE(1), m->p + B2, m->g + B2);
    nb_var x = nb_borrow_constant(t, NB_SHAPE(IN), m->x);
    nb_var y = nb_borrow_constant(t, NB_SHAPE(1), &m->y);
    nb_var out = nb_affine(nb_tanh(nb_affine(x, w1, b1)), w2, b2);
    m->f = nb_freeze_step(&(nb_frozen_recipe){.loss = nb_square(nb_sub(out, y))});
    if (!m->f)
        fprintf(stderr, "programs: %s\n", nb_message(t));
    nb_tape_free(t);
    return m->f != NULL;
}

static double step(model *m, const double *x, double y)
{
    memcpy(m->x, x, sizeof m->x);
    m->y = y;
    nb_frozen_run(m->f);
    for (int i = 0; i < PARAMETERS; i++)
        m->p[i] -= rate * m->g[i];
    return nb_frozen_loss(m->f);
}

typedef struct data {
    double x[SAMPLES][IN], y[SAMPLES];
} data;

static bool agrees(model *m, double *p, const data *d)
{
    double worst = 0;
    for (int k = 0; k < 500; k++)
        worst = fmax(worst, fabs(step(m, d->x[k % SAMPLES], d->y[k % SAMPLES]) -
                                 by_hand(p, d->x[k % SAMPLES], d->y[k % SAMPLES])));
    for (int i = 0; i < PARAMETERS; i++)
        worst = fmax(worst, fabs(m->p[i] - p[i]));
    if (!(worst < 1e-12))
        fprintf(stderr, "programs: the frozen step is %g from the hand-written one\n", worst);
    return worst < 1e-12;
}

bool programs_step(bool quick)
{
    const int repeats = quick ? 15 : 63;
    static model m;
    static data d;
    double p[PARAMETERS], frozen[MOST], hand[MOST], sink = 0;
    nb_rng r = nb_rng_seed(1);
    for (int k = 0; k < SAMPLES; k++) {
        for (int i = 0; i < IN; i++)
            d.x[k][i] = nb_rng_normal(&r);
        d.y[k] = sin(d.x[k][0] + d.x[k][1]);
    }
    start(m.p);
    start(p);
    bool good = open_model(&m) && agrees(&m, p, &d);
    for (int k = 0; k < repeats && good; k++) {
        const double a = bench_now();
        for (int i = 0; i < STEPS; i++)
            sink += step(&m, d.x[i % SAMPLES], d.y[i % SAMPLES]);
        const double b = bench_now();
        for (int i = 0; i < STEPS; i++)
            sink += by_hand(p, d.x[i % SAMPLES], d.y[i % SAMPLES]);
        hand[k] = bench_now() - b;
        frozen[k] = b - a;
    }
    if (good) {
        const double us = 1e6 * bench_median(frozen, (size_t)repeats) / STEPS;
        const double hand_us = 1e6 * bench_median(hand, (size_t)repeats) / STEPS;
        bench_line("programs", "frozen_mlp", "us_per_step", us, "us", "<=0.2");
        bench_line("programs", "frozen_mlp", "hand_us_per_step", hand_us, "us", "-");
        bench_line("programs", "frozen_mlp", "over_hand", us / hand_us, "x", "-");
    }
    nb_frozen_free(m.f);
    return good && isfinite(sink);
}
