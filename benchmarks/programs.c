/*
 * Programs beside plain C: derivatives of public workloads, what an operation costs, what freezing
 * costs, what a second thread brings.
 *
 * The workloads are those of GradBench, which took them from ADBench and cmpad, at the sizes told in
 * each file. Three figures a workload: `primal_ms`, the plain C function; `hand_over_primal`, function
 * and derivatives written by hand in plain C; `gradient_over_primal`, the same derivatives by nabla.
 * A multiple below 1 says that derivatives cost less than calling the function: the lanes of a
 * program are vectors, where the plain function's loops are what the compiler makes of them.
 */
#include "programs.h"
#include "programs_step.h"

enum { MOST = 31 };

/* ---- timing ---------------------------------------------------------------------------------- */

static double slice(void (*run)(void *), void *data, int times)
{
    const double start = bench_now();
    for (int k = 0; k < times; k++)
        run(data);
    return (bench_now() - start) / times;
}

/* How often in a row to run what takes so long, for the clock to be exact. */
static int times_for(double seconds, bool quick)
{
    const double n = (quick ? 1e-3 : 3e-3) / fmax(seconds, 1e-9);
    return n < 1 ? 1 : n > 100000 ? 100000 : (int)n;
}

void programs_time(const contest *c, bool quick)
{
    void (*const run[])(void *) = {c->primal, c->hand, c->nabla};
    double spent[3][MOST], total = 0, middle[3];
    int times[3], repeats = quick ? 5 : MOST;
    for (int k = 0; k < 3; k++) {
        const double once = slice(run[k], c->data, 1);
        times[k] = times_for(slice(run[k], c->data, 1), quick);
        total += once * times[k];
    }
    const double affordable = (quick ? 0.3 : 6) / total;
    if (affordable < repeats)
        repeats = affordable < 3 ? 3 : (int)affordable;
    for (int r = 0; r < repeats; r++)
        for (int k = 0; k < 3; k++)
            spent[k][r] = slice(run[k], c->data, times[k]);
    for (int k = 0; k < 3; k++)
        middle[k] = bench_median(spent[k], (size_t)repeats);
    bench_line("programs", c->name, "gradient_over_primal", middle[2] / middle[0], "x", c->bar);
    bench_line("programs", c->name, "hand_over_primal", middle[1] / middle[0], "x", "-");
    bench_line("programs", c->name, "primal_ms", 1e3 * middle[0], "ms", "-");
}

/* ---- making and running ---------------------------------------------------------------------- */

nb_program *programs_made(nb_program *p, const nb_reason *why, const nb_tape *t)
{
    if (!p) {
        fprintf(stderr, "programs: %s\n", why ? why->text : nb_message(t));
        exit(1);
    }
    return p;
}

nb_program *programs_freeze(nb_tape *t, size_t n_in, const nb_argument *in, nb_argument out)
{
    const nb_recipe r = {.n_in = n_in, .in = in, .n_out = 1, .out = &out};
    return programs_made(nb_freeze(&r), NULL, t);
}

nb_program *programs_freeze_derived(nb_tape *t, size_t n_in, const nb_argument *in, nb_argument out,
                                    programs_derive *derive, const bool *want)
{
    nb_reason why;
    nb_program *p = programs_freeze(t, n_in, in, out);
    nb_program *d = programs_made(derive(p, want, &why), &why, t);
    nb_program_free(p);
    return d;
}

void programs_run(const nb_program *p, int64_t lanes, const nb_lanes *in, const nb_lanes *out)
{
    programs_run_rows(p, 1, lanes, in, out);
}

void programs_run_rows(const nb_program *p, int64_t rows, int64_t lanes, const nb_lanes *in,
                       const nb_lanes *out)
{
    const nb_replay r = {.lanes = lanes, .rows = rows, .in = in, .out = out, .dtype = NB_F64};
    nb_reason why;
    if (nb_program_run(p, &r, &why) != NB_OK) {
        fprintf(stderr, "programs: %s\n", why.text);
        exit(1);
    }
}

void programs_inputs(nb_tape *t, size_t n, const double *x, nb_var *in)
{
    for (size_t k = 0; k < n; k++)
        in[k] = nb_input(t, NULL, x[k]);
}

double *programs_random(size_t n, double low, double high, uint64_t seed)
{
    nb_rng r = nb_rng_seed(seed);
    double *x = bench_numbers(n);
    for (size_t k = 0; k < n; k++)
        x[k] = low + (high - low) * nb_rng_uniform(&r);
    return x;
}

/* Names of cases on the command line choose; without any, all are run. */
static bool chosen(const char *name, int argc, char **argv)
{
    bool any = false, this = false;
    for (int k = 1; k < argc; k++) {
        any = any || argv[k][0] != '-';
        this = this || !strcmp(argv[k], name);
    }
    return this || !any;
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        bool (*run)(bool quick);
    } cases[] = {{"gmm", bench_gmm},           {"ba", bench_ba},
                 {"llsq", bench_llsq},         {"lse", bench_lse},
                 {"lstm", bench_lstm},         {"ode", bench_ode},
                 {"det", bench_det},           {"ht", bench_ht},
                 {"replay", bench_rows},       {"freeze", bench_freeze},
                 {"kmeans", bench_kmeans},     {"batch", bench_batch},
                 {"threads2", bench_threads},  {"emitted_ba", bench_emitted},
                 {"frozen_mlp", programs_step}};
    bool right = true;
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++)
        if (chosen(cases[k].name, argc, argv))
            right = cases[k].run(bench_quick(argc, argv)) && right;
    return !right;
}
