/*
 * The learning rate over time: every schedule, the plateau rule, and how to find a rate to begin with.
 *
 *   1. Schedules are closed forms in the step. Each is drawn, and compared with its formula.
 *   2. On a plateau: a network learns a sine from noisy samples by small batches. Noise keeps gradient
 *      descent away from the minimum, at a distance that grows with the rate: the loss stops falling, the
 *      rule halves the rate, and the loss falls on.
 *   3. The range test: the rate grows tenfold every 40 steps. First nothing happens, then the loss falls, then
 *      it explodes; a good rate is where it fell fastest. (With all samples in each step: the noise of small
 *      batches would be taken for falling.)
 */
#include <math.h>
#include <nabla.h>
#include <stdio.h>

static const double pi = 3.14159265358979323846;

/* ---- schedules ------------------------------------------------------------------------------- */

enum { STEPS = 100, POINTS = STEPS + 1 };

static double ramp(double t) { return t < STEPS ? 1 - 0.9 * t / STEPS : 0.1; }
static double stairs(double t) { return pow(0.5, floor(t / 25)); }
static double decay(double t) { return exp(-0.03 * t); }
static double inverse(double t) { return 1 / (1 + 0.03 * t); }
static double square(double t) { return (1 - t / STEPS) * (1 - t / STEPS); }
static double warm(double t) { return t < 20 ? 0.8 * (t + 1) / 21 : 0.8; }
static double wave(double t) { return (1 + cos(pi * t / STEPS)) / 2; }
static double waves(double t) /* begins anew at 15 and at 45 */
{
    const double start = t < 15 ? 0 : t < 45 ? 15 : 45, length = t < 15 ? 15 : t < 45 ? 30 : 60;
    return (1 + cos(pi * (t - start) / length)) / 2;
}
static double cycle(double t)
{
    return t < 30 ? 0.04 + 0.96 * (1 - cos(pi * t / 30)) / 2 : (1 + cos(pi * (t - 30) / 70)) / 2;
}

static const struct {
    const char *name;
    nb_schedule schedule;
    double (*formula)(double t);
} all[] = {
    {"linear", {.kind = NB_LINEAR, .rate = 1, .last = 0.1, .steps = STEPS}, ramp},
    {"step", {.kind = NB_STEPWISE, .rate = 1, .k = 0.5, .steps = 25}, stairs},
    {"exponential", {.kind = NB_EXPONENTIAL, .rate = 1, .k = 0.03}, decay},
    {"inverse", {.kind = NB_INVERSE, .rate = 1, .k = 0.03}, inverse},
    {"polynomial", {.kind = NB_POLYNOMIAL, .rate = 1, .k = 2, .steps = STEPS}, square},
    {"constant, warmed up", {.kind = NB_CONSTANT, .rate = 0.8, .warm_up = 20}, warm},
    {"cosine", {.kind = NB_COSINE, .rate = 1, .steps = STEPS}, wave},
    {"with restarts", {.kind = NB_COSINE, .rate = 1, .steps = 15, .times = 2}, waves},
    {"one cycle", {.kind = NB_ONE_CYCLE, .rate = 1, .steps = STEPS}, cycle},
};
enum { ALL = sizeof all / sizeof *all, FALLING = 5 };

static bool show_schedules(void)
{
    static double rate[ALL][POINTS];
    nb_series s[ALL];
    double worst = 0;
    for (int k = 0; k < ALL; k++) {
        for (int t = 0; t < POINTS; t++) {
            rate[k][t] = nb_schedule_at(&all[k].schedule, t);
            worst = fmax(worst, fabs(rate[k][t] - all[k].formula(t)));
        }
        s[k] = (nb_series){.name = all[k].name, .n = POINTS, .y = rate[k]};
    }
    nb_plot p = {.title = "Schedules that fall",
                 .x.label = "step",
                 .y.label = "rate",
                 .n = FALLING,
                 .series = s};
    nb_plot_print(stdout, &p, NULL);
    p.title = "and others";
    p.n = ALL - FALLING;
    p.series = s + FALLING;
    nb_plot_print(stdout, &p, NULL);
    printf("All are what their formulas say: %s\n\n", worst < 1e-14 ? "yes" : "no");
    return worst < 1e-14;
}

/* ---- a small model --------------------------------------------------------------------------- */

enum { SAMPLES = 128, BATCH = 8, EPOCHS = 400 };

typedef struct model {
    nb_tape *tape;
    nb_params *params;
    nb_mlp mlp;
    nb_optim *optim;
    nb_rng rng;
    double x[SAMPLES], y[SAMPLES]; /* in random order */
} model;

static void make(model *m, nb_update_id rule, double rate)
{
    *m = (model){.tape = nb_tape_new(NULL), .params = nb_params_new(NULL), .rng = nb_rng_seed(3)};
    for (int i = 0; i < SAMPLES; i++) {
        m->x[i] = 2 * nb_rng_uniform(&m->rng) - 1;
        m->y[i] = sin(pi * m->x[i]) + 0.2 * nb_rng_normal(&m->rng);
    }
    m->mlp = nb_mlp_new(m->params, "mlp", 3, (int64_t[]){1, 16, 1}, &(nb_mlp_options){.f = nb_tanh},
                        &m->rng);
    m->optim = nb_optim_new(m->params,
                            &(nb_optim_options){.rule = nb_update_of(rule), .rate = rate}, NULL);
}

static void drop(model *m)
{
    nb_optim_free(m->optim);
    nb_params_free(m->params);
    nb_tape_free(m->tape);
}

/* The loss on n samples; NaN after an error. With a step by its gradient, if wanted. */
static double loss(model *m, int from, int n, bool step)
{
    nb_mark start = nb_tape_mark(m->tape);
    nb_pass pass = nb_training_pass(m->params, m->tape, NULL);
    nb_var x = nb_constant_tensor(m->tape, NB_SHAPE(n, 1), m->x + from);
    nb_var y = nb_constant_tensor(m->tape, NB_SHAPE(n, 1), m->y + from);
    nb_var f = nb_squared_error(nb_mlp_apply(&m->mlp, &pass, x), y, NULL);
    double value = nb_value(f);
    if (step && (nb_backward(f) != NB_OK || nb_optim_step(m->optim, NULL) != NB_OK))
        value = (double)(double)NAN;
    nb_rewind(start);
    return value;
}

/* ---- on a plateau ---------------------------------------------------------------------------- */

static bool show_plateau(void)
{
    static double losses[EPOCHS], rates[EPOCHS];
    static model m;
    nb_plateau plateau = {.rate = 0.3, .factor = 0.5, .patience = 8, .lowest = 1e-3};
    double best = (double)INFINITY, rate = plateau.rate; /* the rule once more, by hand */
    int falls = 0, first = 0, bad = 0;
    bool good = true;
    make(&m, NB_SGD, rate);
    for (int e = 0; e < EPOCHS; e++) {
        for (int from = 0; from < SAMPLES; from += BATCH)
            loss(&m, from, BATCH, true);
        losses[e] = loss(&m, 0, SAMPLES, false);
        rates[e] = nb_optim_rate(m.optim);
        nb_optim_set_rate(m.optim, nb_plateau_tell(&plateau, losses[e]), NULL);

        bad = losses[e] < best * (1 - 1e-4) ? 0 : bad + 1;
        best = bad ? best : losses[e];
        if (bad > 8) {
            rate = fmax(rate / 2, 1e-3);
            first = falls++ ? first : e;
            bad = 0;
        }
        good = good && nb_optim_rate(m.optim) == rate;
    }
    drop(&m);
    const nb_series s[] = {
        {.name = "loss", .n = EPOCHS, .y = losses},
        {.name = "rate", .kind = NB_PLOT_STEPS, .n = EPOCHS, .y = rates},
    };
    nb_plot_print(
        stdout,
        &(nb_plot){.title = "On a plateau", .x.label = "epoch", .y.log = true, .n = 2, .series = s},
        NULL);
    printf("The rate fell %d times, first after epoch %d; the loss then was %.4f, and in the end "
           "%.4f.\n\n",
           falls, first, losses[first], losses[EPOCHS - 1]);
    return good && falls > 1 && losses[EPOCHS - 1] < losses[first];
}

/* ---- the range test -------------------------------------------------------------------------- */

/* The loss on all samples after so many steps of a fresh model. */
static double train(double rate, int steps)
{
    static model m;
    make(&m, NB_ADAM, rate);
    for (int k = 0; k < steps; k++)
        loss(&m, 0, SAMPLES, true);
    const double end = loss(&m, 0, SAMPLES, false);
    drop(&m);
    return end;
}

static bool show_range_test(void)
{
    enum { MOST = 200 };
    static double rates[MOST], losses[MOST];
    static model m;
    nb_rate_test test = {.low = 1e-4, .high = 10, .steps = MOST};
    bool going = true;
    size_t n = 0;
    make(&m, NB_ADAM, test.low);
    for (; going; n++) {
        rates[n] = nb_rate_test_rate(&test);
        nb_optim_set_rate(m.optim, rates[n], NULL);
        going = nb_rate_test_tell(&test, loss(&m, 0, SAMPLES, true));
        losses[n] = test.smooth;
    }
    drop(&m);
    const double best = nb_rate_test_best(&test);
    nb_plot_print(stdout,
                  &(nb_plot){.title = "Range test",
                             .x = {.label = "rate", .log = true},
                             .y = {.label = "loss, smoothed", .log = true},
                             .n = 1,
                             .series = &(nb_series){.n = n, .x = rates, .y = losses}},
                  NULL);
    const double good = train(best, 400), low = train(best / 1000, 400);
    printf("Fastest at a rate of %.2g. The loss after 400 steps: %.3f at that rate, %.3f at a "
           "thousandth.\n",
           best, good, low);
    return best > test.low && best < test.high && good < 0.2 && good < low;
}

int main(void)
{
    bool good = show_schedules();
    good = show_plateau() && good;
    good = show_range_test() && good;
    if (!good)
        puts("A figure is off.");
    return good ? 0 : 1;
}
