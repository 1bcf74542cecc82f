/*
 * What a training step costs: forward, loss, backward, update, recorded anew each step.
 *
 * Beside each step on a tape stands the same step written by hand in plain C, in the same run: on the
 * library's own matrix product, and on OpenBLAS where the system has it; `over_hand` is the tape's
 * time over the better of the two. The update, one fused loop over all parameters, is the same code
 * for all. Before timing, the gradients must agree. Steps of the versions take turns, so that what
 * else the machine does falls on all of them.
 *
 * The bars in microseconds are for a core of 2.5 GHz with AVX-512.
 */
#include "train.h"
#include "bench.h"

#include <math.h>

static const float rate = 0.01f;

static WIDE void sgd(size_t n, float *restrict p, const float *restrict g)
{
    for (size_t i = 0; i < n; i++)
        p[i] -= rate * g[i];
}

/* p -= a m / (sqrt(v) + e), with the corrections of both moments in a and e. */
static WIDE void adam_loop(size_t n, float *restrict p, const float *restrict g, float *restrict m,
                           float *restrict v, float a, float e)
{
    for (size_t i = 0; i < n; i++) {
        m[i] += 0.1f * (g[i] - m[i]);
        v[i] += 0.001f * (g[i] * g[i] - v[i]);
        p[i] -= a * m[i] / (sqrtf(v[i]) + e);
    }
}

static void adam(state *s)
{
    const double first = -expm1(++s->steps * log(0.9)), second = -expm1(s->steps * log(0.999));
    const double a = 0.001 * sqrt(second) / first, e = 1e-8 * sqrt(second);
    adam_loop(s->parameters, s->p, s->g, s->m, s->v, (float)a, (float)e);
}

/* ---- tasks ----------------------------------------------------------------------------------- */

static const task tasks[] = {
    {"moons_b100", TASK_MLP, LOSS_LOGISTIC, false, 3, {2, 16, 16, 1}, 100, "<=9", "<=9.5"},
    {"mnist_b1", TASK_MLP, LOSS_SOFTMAX, true, 2, {784, 128, 10}, 1, "<=31", "<=70"},
    {"mnist_b32", TASK_MLP, LOSS_SOFTMAX, true, 2, {784, 128, 10}, 32, "<=125", "<=165"},
    {"mnist_b128", TASK_MLP, LOSS_SOFTMAX, true, 2, {784, 128, 10}, 128, "<=430", "<=470"},
    {"mlp512_b64", TASK_MLP, LOSS_SOFTMAX, true, 3, {784, 512, 512, 10}, 64, "<=2000", "<=2500"},
    {"mlp1024_b256",
     TASK_MLP,
     LOSS_SQUARED,
     true,
     3,
     {1024, 1024, 1024, 1024},
     256,
     "<=36000",
     "<=38500"},
    {"lstm", TASK_LSTM, LOSS_SQUARED, false, 0, {0}, 16, "<=5500", "-"},
    {"lstm_steps", TASK_LSTM_STEPS, LOSS_SQUARED, false, 0, {0}, 16, "-", "-"},
    {"cnn", TASK_CNN, LOSS_SOFTMAX, true, 0, {0}, 32, "<=900", "-"},
};

static bool is_recurrent(const task *t)
{
    return t->kind == TASK_LSTM || t->kind == TASK_LSTM_STEPS;
}

size_t task_parameters(const task *t)
{
    size_t n = 0;
    for (int l = 0; l < t->layers; l++)
        n += (size_t)((t->size[l] + 1) * t->size[l + 1]);
    if (is_recurrent(t))
        n = (FEATURES + UNITS + 1) * 4 * UNITS;
    if (t->kind == TASK_CNN)
        n = FIRST * (KERNEL + 1) + SECOND * (FIRST * KERNEL + 1) +
            (SECOND * LEFT * LEFT + 1) * CLASSES;
    return n;
}

size_t task_inputs(const task *t)
{
    return (size_t)(t->batch * (is_recurrent(t)       ? STEPS * FEATURES
                                : t->kind == TASK_CNN ? SIDE * SIDE
                                                      : t->size[0]));
}

size_t task_targets(const task *t)
{
    return (size_t)(t->batch * (is_recurrent(t)       ? STEPS * UNITS
                                : t->kind == TASK_CNN ? 1
                                                      : t->size[t->layers]));
}

static float *normals(size_t n, double deviation, nb_rng *r)
{
    float *x = aligned_alloc(64, (n * sizeof *x + 127) / 64 * 64);
    if (!x)
        exit(EXIT_FAILURE);
    for (size_t i = 0; i < n; i++)
        x[i] = (float)(deviation * nb_rng_normal(r));
    return x;
}

/* Two states of a task have the same parameters and data. */
static state make_state(const task *t)
{
    nb_rng r = nb_rng_seed(3);
    const int64_t classes = t->kind == TASK_CNN ? CLASSES : t->size[t->layers];
    state s = {.task = t, .parameters = task_parameters(t), .inputs = task_inputs(t)};
    s.targets = task_targets(t);
    s.p = normals(s.parameters, t->kind == TASK_MLP ? 1 / sqrt((double)t->size[1]) : 0.1, &r);
    s.g = normals(s.parameters, 0, &r);
    s.m = normals(s.parameters, 0, &r);
    s.v = normals(s.parameters, 0, &r);
    s.x = normals(s.inputs, 1, &r);
    s.target = normals(s.targets, 1, &r);
    s.label = calloc((size_t)t->batch, sizeof *s.label);
    for (int64_t i = 0; s.label && i < t->batch; i++)
        s.label[i] = i * 7 % (classes > 0 ? classes : 1);
    for (size_t i = 0; t->loss == LOSS_LOGISTIC && i < s.targets; i++)
        s.target[i] = s.target[i] > 0 ? 1 : -1;
    return s;
}

static void free_state(state *s)
{
    free(s->p), free(s->g), free(s->m), free(s->v), free(s->x), free(s->target), free(s->label);
}

/* ---- timing ---------------------------------------------------------------------------------- */

enum { WAYS = 3, MOST = 41 };

typedef struct way {
    state s;
    gradient_fn *gradient;
    double samples[2][MOST], median[2]; /* by SGD, by Adam */
} way;

static double step(way *w, bool by_adam)
{
    const double loss = w->gradient(&w->s);
    if (by_adam)
        adam(&w->s);
    else
        sgd(w->s.parameters, w->s.p, w->s.g);
    return loss;
}

/* The largest difference of the gradients, relative to the size of the largest element. */
static double difference(const state *a, const state *b)
{
    double worst = 0, most = 0;
    for (size_t i = 0; i < a->parameters; i++) {
        worst = fmax(worst, fabs((double)(a->g[i] - b->g[i])));
        most = fmax(most, fabs((double)b->g[i]));
    }
    return worst / most;
}

static bool verify(way *ways, int n)
{
    bool good = true;
    double loss[WAYS];
    for (int k = 0; k < n; k++)
        loss[k] = ways[k].gradient(&ways[k].s);
    for (int k = 1; k < n; k++) {
        const double d = difference(&ways[0].s, &ways[k].s);
        if (!(d < 2e-5) || !(fabs(loss[0] - loss[k]) < 1e-4 * fabs(loss[k]))) {
            fprintf(stderr, "train: %s: version %d differs: gradient by %g, loss %g and %g\n",
                    ways[0].s.task->name, k, d, loss[0], loss[k]);
            good = false;
        }
    }
    return good;
}

static void measure(way *ways, int n, bool quick)
{
    double sink = 0;
    for (int by_adam = 0; by_adam < 2; by_adam++) {
        double t = bench_now();
        for (int k = 0; k < n; k++)
            sink += step(&ways[k], by_adam);
        const double once = (bench_now() - t) / n;
        const int turns = once > 1e-3 ? 1 : (int)(1e-3 / once) + 1;
        const double budget = quick ? 0.15 : 1.5;
        int samples = (int)(budget / (once * turns * n));
        samples = samples < 3 ? 3 : samples > MOST ? MOST : samples;
        for (int i = 0; i < samples; i++)
            for (int k = 0; k < n; k++) {
                t = bench_now();
                for (int j = 0; j < turns; j++)
                    sink += step(&ways[k], by_adam);
                ways[k].samples[by_adam][i] = (bench_now() - t) / turns;
            }
        for (int k = 0; k < n; k++)
            ways[k].median[by_adam] = bench_median(ways[k].samples[by_adam], (size_t)samples);
    }
    if (!isfinite(sink))
        fprintf(stderr, "train: %s: the loss is not finite\n", ways[0].s.task->name);
}

static void report(const task *t, way *ways, int n)
{
    static const char *const figure[2][3] = {{"sgd_us", "sgd_hand_us", "sgd_over_hand"},
                                             {"adam_us", "adam_hand_us", "adam_over_hand"}};
    const char *const bars[2] = {t->sgd_bar, t->adam_bar};
    for (int k = 0; k < 2; k++) {
        double hand = ways[1].median[k];
        for (int j = 2; j < n; j++)
            hand = fmin(hand, ways[j].median[k]);
        bench_line("train", t->name, figure[k][0], 1e6 * ways[0].median[k], "us", bars[k]);
        bench_line("train", t->name, figure[k][1], 1e6 * hand, "us", "-");
        bench_line("train", t->name, figure[k][2], ways[0].median[k] / hand, "x", "-");
    }
    bench_line("train", t->name, "peak_mb", tape_megabytes(&ways[0].s), "MB", "-");
}

static bool run(const task *t, bool quick)
{
    way ways[WAYS] = {{.s = make_state(t), .gradient = tape_gradient},
                      {.s = make_state(t), .gradient = hand_gradient},
                      {.s = make_state(t), .gradient = hand_gradient}};
    int n = 2;
    bool good = tape_open(&ways[0].s) && hand_open(&ways[1].s, product_own);
#ifdef NB_HAVE_OPENBLAS
    good = good && hand_open(&ways[n++].s, product_blas);
#endif
    good = good && verify(ways, n);
    if (good) {
        measure(ways, n, quick);
        report(t, ways, n);
    }
    tape_close(&ways[0].s);
    for (int k = 1; k < n; k++)
        hand_close(&ways[k].s);
    for (int k = 0; k < WAYS; k++)
        free_state(&ways[k].s);
    return good;
}

/* Other arguments than --quick name the cases to run. */
int main(int argc, char **argv)
{
    const bool quick = bench_quick(argc, argv);
    bool good = true;
    if (!bench_one_thread(argv))
        return EXIT_FAILURE;
    for (size_t i = 0; i < sizeof tasks / sizeof *tasks; i++) {
        bool wanted = argc - quick <= 1;
        for (int k = 1 + quick; k < argc; k++)
            wanted = wanted || strstr(tasks[i].name, argv[k]);
        if (wanted)
            good = run(&tasks[i], quick) && good;
    }
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
