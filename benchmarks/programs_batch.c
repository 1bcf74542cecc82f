/*
 * Many evaluations of one function of 100 inputs: 100 rounds of
 *
 *     s = s x[i % n] + sin x[7 i % n];   s = s / (1 + s s);
 *
 * for 10^5 samples [samples, n], the value and the gradient of each. The case `threads2` has a pool
 * of two threads replay the same program over the same samples; wall-clock time, which other work on
 * the machine lengthens.
 */
#include "programs.h"

enum { INPUTS = 100, ROUNDS = 100, MANY = 100000, FEW = 10000, CHECKED = 50, TURNS = 7 };

typedef struct batch {
    size_t samples;
    double *x, *f, *hand_f, *nabla_f, *hand_g, *g;
    nb_program *gradient;
} batch;

static const double START = 0.5;

static void primal(void *data)
{
    batch *b = data;
    for (size_t k = 0; k < b->samples; k++) {
        const double *x = b->x + k * INPUTS;
        double s = START;
        for (int i = 0; i < ROUNDS; i++) {
            s = s * x[i % INPUTS] + sin(x[i * 7 % INPUTS]);
            s = s / (1 + s * s);
        }
        b->f[k] = s;
    }
}

static double by_hand(const double *x, double *g)
{
    double s = START, before[ROUNDS], between[ROUNDS], ds = 1;
    for (int i = 0; i < ROUNDS; i++) {
        before[i] = s;
        between[i] = s = s * x[i % INPUTS] + sin(x[i * 7 % INPUTS]);
        s = s / (1 + s * s);
    }
    memset(g, 0, INPUTS * sizeof *g);
    for (int i = ROUNDS; i-- > 0;) {
        const double u = between[i], over = 1 / (1 + u * u);
        ds *= (1 - u * u) * over * over;
        g[i % INPUTS] += ds * before[i];
        g[i * 7 % INPUTS] += ds * cos(x[i * 7 % INPUTS]);
        ds *= x[i % INPUTS];
    }
    return s;
}

static void hand(void *data)
{
    batch *b = data;
    for (size_t k = 0; k < b->samples; k++)
        b->hand_f[k] = by_hand(b->x + k * INPUTS, b->hand_g + k * INPUTS);
}

static nb_var record(const nb_var *x)
{
    nb_var s = nb_num(START);
    for (int i = 0; i < ROUNDS; i++) {
        s = nb_add(nb_mul(s, x[i % INPUTS]), nb_sin(x[i * 7 % INPUTS]));
        s = nb_div(s, nb_add(1, nb_mul(s, s)));
    }
    return s;
}

static void replay(const batch *b, nb_pool *pool)
{
    const nb_lanes in = dense(b->x), out[] = {dense(b->nabla_f), dense(b->g)};
    const nb_replay r = {.lanes = (int64_t)b->samples, .in = &in, .out = out, .pool = pool};
    nb_reason why;
    if (nb_program_run(b->gradient, &r, &why) != NB_OK) {
        fprintf(stderr, "programs: %s\n", why.text);
        exit(1);
    }
}

static void nabla(void *data) { replay(data, NULL); }

/* The tape's own gradients of some samples, beside the program's. */
static bool eager(const batch *b)
{
    nb_tape *t = nb_tape_new(NULL);
    bool ok = true;
    for (size_t k = 0; ok && k < b->samples; k += b->samples / CHECKED) {
        nb_var x[INPUTS];
        double g[INPUTS];
        nb_reset(t);
        programs_inputs(t, INPUTS, b->x + k * INPUTS, x);
        ok = nb_backward(record(x)) == NB_OK;
        for (int i = 0; i < INPUTS; i++)
            g[i] = nb_grad(x[i]);
        ok = ok && bench_agree("batch, tape", INPUTS, b->g + k * INPUTS, g, 1e-10);
    }
    nb_tape_free(t);
    return ok;
}

static void open_batch(batch *b, bool quick)
{
    const size_t n = quick ? FEW : MANY;
    nb_tape *t = nb_tape_new(NULL);
    nb_var x[INPUTS];
    *b = (batch){.samples = n,
                 .x = programs_random(n * INPUTS, 0.1, 0.9, 8),
                 .f = bench_numbers(3 * n),
                 .hand_g = bench_numbers(n * INPUTS),
                 .g = bench_numbers(n * INPUTS)};
    b->hand_f = b->f + n;
    b->nabla_f = b->hand_f + n;
    programs_inputs(t, INPUTS, b->x, x);
    nb_var f = record(x);
    const nb_argument in = each("x", INPUTS, x);
    b->gradient = programs_freeze_derived(t, 1, &in, each("f", 1, &f), nb_program_gradient, NULL);
    nb_tape_free(t);
}

static void close_batch(batch *b)
{
    double *const numbers[] = {b->x, b->f, b->hand_g, b->g};
    for (int k = 0; k < 4; k++)
        free(numbers[k]);
    nb_program_free(b->gradient);
}

bool bench_batch(bool quick)
{
    batch b;
    open_batch(&b, quick);
    primal(&b);
    hand(&b);
    nabla(&b);
    const bool ok = bench_agree("batch, by hand", b.samples, b.hand_f, b.f, 1e-12) &&
                    bench_agree("batch", b.samples, b.nabla_f, b.f, 1e-12) &&
                    bench_agree("batch, gradient", b.samples * INPUTS, b.g, b.hand_g, 1e-10) &&
                    eager(&b);
    if (ok)
        programs_time(&(contest){"batch", "<=0.45", &b, primal, hand, nabla}, quick);
    close_batch(&b);
    return ok;
}

/* ---- two threads ----------------------------------------------------------------------------- */

static double wall(const batch *b, nb_pool *pool)
{
    struct timespec from, to;
    clock_gettime(CLOCK_MONOTONIC, &from);
    for (size_t k = 0; k < MANY; k += b->samples)
        replay(b, pool);
    clock_gettime(CLOCK_MONOTONIC, &to);
    return (double)(to.tv_sec - from.tv_sec) + 1e-9 * (double)(to.tv_nsec - from.tv_nsec);
}

bool bench_threads(bool quick)
{
    batch b;
    double one[TURNS], two[TURNS];
    nb_pool *pool = nb_pool_new(2, NULL);
    open_batch(&b, quick);
    replay(&b, NULL);
    memcpy(b.hand_g, b.g, b.samples * INPUTS * sizeof *b.g);
    replay(&b, pool);
    const bool ok =
        nb_pool_threads(pool) == 2 && !memcmp(b.hand_g, b.g, b.samples * INPUTS * sizeof *b.g);
    if (!ok)
        fprintf(stderr, "threads2: not bitwise the numbers of one thread: %s\n",
                nb_pool_message(pool));
    for (int k = 0; ok && k < TURNS; k++) {
        one[k] = wall(&b, NULL);
        two[k] = wall(&b, pool);
    }
    if (ok)
        bench_line("programs", "threads2", "speedup",
                   bench_median(one, TURNS) / bench_median(two, TURNS), "x", ">=1.8");
    nb_pool_free(pool);
    close_batch(&b);
    return ok;
}
