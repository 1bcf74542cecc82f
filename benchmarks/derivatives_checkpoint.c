/*
 * What a gradient through many steps costs when few states are kept.
 *
 * Case `checkpoint`: 10^5 steps by nb_loop, with memory for 50 states, against the same steps on a
 * plain tape: the ratio of the memory taken and of the time of recording and sweeping. Both tapes
 * have run before, so that neither pays for fresh pages (`first_time_ratio` is with them), and the
 * gradients must agree to the last bit. Of a recurrent net, where the time is spent in vectors, and of
 * a predator and its prey, all scalars: there a step is recorded as fast as it is swept, and theory
 * alone asks for (4.74 + 1) / 2 = 2.9 times the time.
 *
 * Case `ode`: the gradient of y_n at time 2 by x, where y_1' = x_1, y_i' = x_i y_(i-1), 100 states, by
 * 1000 steps of Runge and Kutta, over the plain function in C: as scalars and as vectors.
 */
#include "derivatives.h"

enum { STEPS = 100000, KEPT = 50, REPEATS = 5 };

/* A state and what every step sees, in one list of vars; the loss is the sum of the first output. */
typedef struct process {
    const char *name;
    size_t n_state, n_in, elements; /* elements of all inputs */
    nb_step_fn *step;
    void (*start)(nb_tape *t, nb_var *in);
} process;

/* ---- a recurrent net ------------------------------------------------------------------------- */

enum { WIDTH = 64, MOST_IN = 6, MOST = 2 * WIDTH + WIDTH * WIDTH };

static nb_code net_step(void *calls, int64_t step, const nb_var *in, nb_var *out)
{
    (void)step;
    ++*(int64_t *)calls;
    out[0] = nb_tanh(nb_affine(in[0], in[1], in[2]));
    return NB_OK;
}

static void net_start(nb_tape *t, nb_var *in)
{
    nb_rng r = nb_rng_seed(1);
    in[0] = nb_leaf("h", nb_normal(t, NB_SHAPE(WIDTH), 0, 1, &r));
    in[1] = nb_leaf("w", nb_normal(t, NB_SHAPE(WIDTH, WIDTH), 0, 1.5 / sqrt(WIDTH), &r));
    in[2] = nb_leaf("b", nb_normal(t, NB_SHAPE(WIDTH), 0, .1, &r));
}

/* ---- a predator and its prey, by Runge and Kutta --------------------------------------------- */

static void prey_slope(const nb_var *y, const nb_var *p, nb_var *d)
{
    nb_var met = nb_mul(y[0], y[1]);
    d[0] = nb_sub(nb_mul(p[0], y[0]), nb_mul(p[1], met));
    d[1] = nb_sub(nb_mul(p[2], met), nb_mul(p[3], y[1]));
}

static nb_code prey_step(void *calls, int64_t step, const nb_var *in, nb_var *out)
{
    const double h = 1e-3;
    nb_var k[4][2], y[2];
    (void)step;
    ++*(int64_t *)calls;
    prey_slope(in, in + 2, k[0]);
    for (int stage = 1; stage < 4; stage++) {
        for (int i = 0; i < 2; i++)
            y[i] = nb_add(in[i], nb_mul(stage < 3 ? h / 2 : h, k[stage - 1][i]));
        prey_slope(y, in + 2, k[stage]);
    }
    for (int i = 0; i < 2; i++) {
        nb_var ends = nb_add(k[0][i], k[3][i]), middle = nb_mul(2, nb_add(k[1][i], k[2][i]));
        out[i] = nb_add(in[i], nb_mul(h / 6, nb_add(ends, middle)));
    }
    return NB_OK;
}

static void prey_start(nb_tape *t, nb_var *in)
{
    static const double x[] = {1.5, 1, 1.1, .9, .8, 1};
    for (int k = 0; k < 6; k++)
        in[k] = nb_input(t, NULL, x[k]);
}

/* ---- one gradient ---------------------------------------------------------------------------- */

static void run_plain(const process *s, int64_t steps, const nb_var *in, nb_var *out,
                      int64_t *calls)
{
    nb_var now[MOST_IN];
    memcpy(now, in, s->n_in * sizeof *now);
    for (int64_t k = 0; k < steps; k++) {
        s->step(calls, k, now, out);
        memcpy(now, out, s->n_state * sizeof *now);
    }
}

/* Seconds for the gradient, by the loop with `kept` states or, if 0, on a plain tape. */
static double gradient(nb_tape *t, const process *s, int64_t steps, int64_t kept, double *g,
                       int64_t *calls)
{
    nb_var in[MOST_IN], out[MOST_IN];
    nb_mark mark = nb_tape_mark(t);
    const double start = bench_now();
    *calls = 0;
    s->start(t, in);
    if (kept)
        nb_loop(
            &(nb_loop_spec){
                .name = s->name, .fn = s->step, .context = calls, .steps = steps, .memory = kept},
            s->n_state, in, s->n_in - s->n_state, in + s->n_state, out);
    else
        run_plain(s, steps, in, out, calls);
    const bool right = nb_backward(nb_sum(out[0])) == NB_OK;
    const double time = bench_now() - start;
    for (size_t k = 0; k < s->n_in; g += nb_size(in[k++]))
        if (!right || nb_read_grad(in[k], g, nb_size(in[k])) != NB_OK)
            *g = (double)NAN;
    nb_rewind(mark);
    return time;
}

/* r T - binom(s + r, r - 1) advances with s states, the first counted, and T + 1 calls besides. */
static double least_calls(double T, double s)
{
    double r = 0, reach = 1, all = 0;
    while (reach < T) {
        all += T - reach;
        r++;
        reach *= (s + r) / r;
    }
    return all + T + 1;
}

static bool compare(const process *s, int64_t steps, int repeats, const char *memory_bar)
{
    double g[2][MOST] = {{0}}, times[2][REPEATS], first[2], bytes[2];
    int64_t calls[2];
    char figure[64];
    for (int k = 0; k < 2; k++) {
        nb_tape *t = nb_tape_new(NULL);
        first[k] = gradient(t, s, steps, k ? KEPT : 0, g[k], &calls[k]);
        for (int r = 0; r < repeats; r++)
            times[k][r] = gradient(t, s, steps, k ? KEPT : 0, g[k], &calls[k]);
        bytes[k] = (double)nb_tape_bytes(t);
        nb_tape_free(t);
    }
    const double least = least_calls((double)steps, KEPT + 1);
    if (memcmp(g[0], g[1], s->elements * sizeof *g[0]) || g[0][0] != g[0][0])
        return fprintf(stderr, "derivatives: checkpoint: %s: gradients differ\n", s->name), false;
    const struct {
        const char *figure, *unit, *bar;
        double value;
    } line[] = {
        {"memory_ratio", "x", memory_bar, bytes[0] / bytes[1]},
        {"time_ratio", "x", "<=3",
         bench_median(times[1], (size_t)repeats) / bench_median(times[0], (size_t)repeats)},
        {"first_time_ratio", "x", "-", first[1] / first[0]},
        {"forward_steps_over_minimal", "x", "<=1", (double)calls[1] / least},
        {"us_per_step", "us", "-", 1e6 * times[1][repeats / 2] / (double)steps},
    };
    for (size_t k = 0; k < sizeof line / sizeof *line; k++) {
        snprintf(figure, sizeof figure, "%s_%s", s->name, line[k].figure);
        bench_line("derivatives", "checkpoint", figure, line[k].value, line[k].unit, line[k].bar);
    }
    return true;
}

bool bench_checkpoint(bool quick)
{
    static const process net = {"net", 1, 3, MOST, net_step, net_start};
    static const process prey = {"prey", 2, 6, 6, prey_step, prey_start};
    const int64_t steps = quick ? STEPS / 10 : STEPS; /* too few for the bar on memory */
    const char *bar = quick ? "-" : ">=100";
    const bool right = compare(&net, steps, quick ? 1 : 3, bar);
    return compare(&prey, steps, quick ? 1 : REPEATS, bar) && right;
}

/* ---- case `ode` ------------------------------------------------------------------------------- */

enum { N = 100, ODE_STEPS = 1000 };
static const double ode_h = 2. / ODE_STEPS;

/* y_n at time 2. */
static double ode_plain(const double *x)
{
    double y[N] = {0}, z[N], k[4][N];
    for (int s = 0; s < ODE_STEPS; s++) {
        for (int stage = 0; stage < 4; stage++) {
            const double h = stage == 3 ? ode_h : ode_h / 2;
            for (int i = 0; i < N; i++)
                z[i] = stage ? y[i] + h * k[stage - 1][i] : y[i];
            k[stage][0] = x[0];
            for (int i = 1; i < N; i++)
                k[stage][i] = x[i] * z[i - 1];
        }
        for (int i = 0; i < N; i++)
            y[i] += ode_h / 6 * (k[0][i] + 2 * k[1][i] + 2 * k[2][i] + k[3][i]);
    }
    return y[N - 1];
}

static nb_code ode_scalars(void *context, int64_t step, const nb_var *in, nb_var *out)
{
    const nb_var *y = in, *x = in + N;
    nb_var z[N], k[4][N];
    (void)context, (void)step;
    for (int stage = 0; stage < 4; stage++) {
        const double h = stage == 3 ? ode_h : ode_h / 2;
        for (int i = 0; i < N; i++)
            z[i] = stage ? nb_add(y[i], nb_mul(h, k[stage - 1][i])) : y[i];
        k[stage][0] = x[0];
        for (int i = 1; i < N; i++)
            k[stage][i] = nb_mul(x[i], z[i - 1]);
    }
    for (int i = 0; i < N; i++) {
        nb_var ends = nb_add(k[0][i], k[3][i]), middle = nb_mul(2, nb_add(k[1][i], k[2][i]));
        out[i] = nb_add(y[i], nb_mul(ode_h / 6, nb_add(ends, middle)));
    }
    return NB_OK;
}

static nb_code ode_vectors(void *context, int64_t step, const nb_var *in, nb_var *out)
{
    const nb_var y = in[0], x = in[1];
    nb_var k[4];
    (void)context, (void)step;
    for (int stage = 0; stage < 4; stage++) {
        const double h = stage == 3 ? ode_h : ode_h / 2;
        nb_var z = stage ? nb_add(y, nb_mul(h, k[stage - 1])) : y;
        k[stage] = nb_mul(x, nb_pad(nb_slice(z, 0, 0, -1, 1), 0, 1, 0, 1));
    }
    nb_var ends = nb_add(k[0], k[3]), middle = nb_mul(2, nb_add(k[1], k[2]));
    out[0] = nb_add(y, nb_mul(ode_h / 6, nb_add(ends, middle)));
    return NB_OK;
}

/* Value and gradient on tape t; seconds taken. */
static double ode_gradient(nb_tape *t, bool vectors, int64_t kept, const double *x, double *y,
                           double *g)
{
    const size_t n = vectors ? 1 : N;
    nb_var in[2 * N], now[2 * N], out[N];
    nb_mark mark = nb_tape_mark(t);
    const double start = bench_now();
    for (size_t i = 0; i < n; i++) {
        in[i] = vectors ? nb_zeros(t, NB_SHAPE(N)) : nb_constant(t, 0);
        in[n + i] = vectors ? nb_tensor(t, "x", NB_SHAPE(N), x) : nb_input(t, NULL, x[i]);
    }
    nb_step_fn *step = vectors ? ode_vectors : ode_scalars;
    if (kept)
        nb_loop(&(nb_loop_spec){.name = "ode", .fn = step, .steps = ODE_STEPS, .memory = kept}, n,
                in, n, in + n, out);
    memcpy(now, in, sizeof now);
    for (int64_t s = 0; !kept && s < ODE_STEPS; s++) {
        step(NULL, s, now, out);
        memcpy(now, out, n * sizeof *now);
    }
    nb_var f = vectors ? nb_slice(out[0], 0, N - 1, N, 1) : out[N - 1];
    const bool right = nb_backward(f) == NB_OK;
    const double time = bench_now() - start;
    *y = nb_value(f);
    for (size_t i = 0; i < n; i++)
        if (!right || nb_read_grad(in[n + i], g + i, vectors ? N : 1) != NB_OK)
            g[i] = (double)NAN;
    nb_rewind(mark);
    return time;
}

/* y_n is x_1 ... x_n 2^n / n! up to the steps' error; its derivatives follow. */
static bool ode_right(const double *x, double plain, double y, const double *g)
{
    double expected[N];
    for (int i = 0; i < N; i++)
        expected[i] = plain / x[i];
    return bench_agree("ode: value", 1, &y, &plain, 1e-12) &&
           bench_agree("ode: gradient", N, g, expected, 1e-11);
}

bool bench_ode(bool quick)
{
    static const char *const figure[] = {"scalars_over_plain", "vectors_over_plain",
                                         "scalars_kept_over_plain", "vectors_kept_over_plain"};
    const size_t repeats = quick ? 3 : 15;
    double x[N], g[N], y = 0, value = 0, plain[15], times[15];
    for (int i = 0; i < N; i++)
        x[i] = 10 + .1 * i; /* the value is then not lost among the denormals */
    for (size_t r = 0; r < repeats; r++) {
        const double start = bench_now();
        for (int k = 0; k < 4; k++)
            value = ode_plain(x);
        plain[r] = (bench_now() - start) / 4;
    }
    const double base = bench_median(plain, repeats);
    bench_line("derivatives", "ode", "plain", 1e3 * base, "ms", "-");
    for (int k = 0; k < 4; k++) {
        nb_tape *t = nb_tape_new(NULL);
        ode_gradient(t, k % 2, k / 2 * KEPT, x, &y, g);
        for (size_t r = 0; r < repeats; r++)
            times[r] = ode_gradient(t, k % 2, k / 2 * KEPT, x, &y, g);
        nb_tape_free(t);
        if (!ode_right(x, value, y, g))
            return false;
        bench_line("derivatives", "ode", figure[k], bench_median(times, repeats) / base, "x", "-");
    }
    return true;
}
