/*
 * The price of an option and all its sensitivities, from a million paths.
 *
 * A path of the stock is a product of lognormal steps,
 *
 *     S(k+1) = S(k) exp((r - sigma^2 / 2) dt + sigma sqrt(dt) z(k)),      z(k) standard normal,
 *
 * and the price is the mean over paths of exp(-r T) max(A - K, 0), where A is the last S (a European call) or
 * the mean of S along the path (an Asian one). One path is recorded, once, and frozen into a program; its
 * gradient by S, K, r, sigma and T, which all paths share, comes out summed over the paths. So the Greeks
 * cost little more than the price, and a path costs less than in plain C.
 *
 * The European figures are held against the formula of Black and Scholes. A progress bar with paths per
 * second goes to the terminal, if there is one.
 */
#include <math.h>
#include <nabla.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { STEPS = 16, BATCH = 20000, BATCHES = 50, PARAMETERS = 5 };

static const char *const names[1 + PARAMETERS] = {"price", "by S",     "by K",
                                                  "by r",  "by sigma", "by T"};
static const double market[PARAMETERS] = {100, 105, 0.03, 0.2, 1};

/* The discounted payoff of one path. */
static nb_var payoff(const nb_var *m, const nb_var *z, bool asian)
{
    nb_var r = m[2], sigma = m[3], dt = nb_div(m[4], STEPS);
    nb_var drift = nb_mul(nb_sub(r, nb_mul(0.5, nb_square(sigma))), dt);
    nb_var spread = nb_mul(sigma, nb_sqrt(dt)), log_s = nb_log(m[0]), s[STEPS];
    for (int k = 0; k < STEPS; k++) {
        log_s = nb_add(log_s, nb_fma(spread, z[k], drift));
        s[k] = nb_exp(log_s);
    }
    nb_var a = asian ? nb_mean_of(STEPS, s) : s[STEPS - 1];
    return nb_mul(nb_exp(nb_neg(nb_mul(r, m[4]))), nb_relu(nb_sub(a, m[1])));
}

/* The program of price and gradient by the market's parameters, summed over paths. */
static nb_program *program(bool asian)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_var m[PARAMETERS], z[STEPS], f;
    for (int k = 0; k < PARAMETERS; k++)
        m[k] = nb_input(t, NULL, market[k]);
    for (int k = 0; k < STEPS; k++)
        z[k] = nb_input(t, NULL, 0);
    f = payoff(m, z, asian);
    nb_program *p = nb_freeze(&(nb_recipe){
        .n_in = 2,
        .in = (nb_argument[]){{.name = "market", .count = PARAMETERS, .var = m, .shared = true},
                              {.name = "z", .count = STEPS, .var = z}},
        .n_out = 1,
        .out = &(nb_argument){.name = "f", .count = 1, .var = &f, .sum = true}});
    nb_program *g = nb_program_gradient(p, (bool[]){true, false}, NULL);
    if (!g)
        fprintf(stderr, "no program: %s\n", nb_message(t));
    nb_program_free(p);
    nb_tape_free(t);
    return g;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void progress(const char *what, int done, double began)
{
    const int width = 30, filled = done * width / BATCHES;
    if (!isatty(STDERR_FILENO))
        return;
    fprintf(stderr, "\r%s [%.*s%*s] %3.0f %%, %.1f million paths a second ", what, filled,
            "##############################", width - filled, "", 100.0 * done / BATCHES,
            1e-6 * done * BATCH / (now() - began));
    if (done == BATCHES)
        fputc('\n', stderr);
}

/* Price and gradient: means over all paths. z is room for a batch. */
static bool simulate(const char *what, bool asian, double *z, double *result)
{
    nb_program *g = program(asian);
    nb_pool *pool = nb_pool_new(NB_ALL_THREADS, NULL);
    nb_rng r = nb_rng_seed(2026);
    nb_reason why = {""};
    const double began = now();
    bool done = g && pool;
    for (int k = 0; k <= PARAMETERS; k++)
        result[k] = 0;
    for (int b = 0; done && b < BATCHES; b++) {
        double f = 0, d[PARAMETERS];
        for (int k = 0; k < BATCH * STEPS / 2; k++) { /* each path with its mirror image */
            z[k] = nb_rng_normal(&r);
            z[BATCH * STEPS / 2 + k] = -z[k];
        }
        done =
            nb_program_run(g,
                           &(nb_replay){.lanes = BATCH,
                                        .in = (nb_lanes[]){{.data = (void *)market}, {.data = z}},
                                        .out = (nb_lanes[]){{.data = &f}, {.data = d}},
                                        .pool = pool},
                           &why) == NB_OK;
        result[0] += f / ((double)BATCH * BATCHES);
        for (int k = 0; k < PARAMETERS; k++)
            result[1 + k] += d[k] / ((double)BATCH * BATCHES);
        progress(what, b + 1, began);
    }
    if (!done)
        fprintf(stderr, "%s: %s\n", what, why.text);
    nb_program_free(g);
    nb_pool_free(pool);
    return done;
}

/* Black and Scholes: the price of the European call, on a tape, and its gradient. */
static void formula(double *result)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_var m[PARAMETERS];
    for (int k = 0; k < PARAMETERS; k++)
        m[k] = nb_input(t, NULL, market[k]);
    nb_var total = nb_mul(m[3], nb_sqrt(m[4]));
    nb_var d1 = nb_add(nb_div(nb_add(nb_log(nb_div(m[0], m[1])), nb_mul(m[2], m[4])), total),
                       nb_mul(0.5, total));
    nb_var held = nb_mul(m[0], nb_normal_cdf(d1));
    nb_var owed =
        nb_mul(nb_mul(m[1], nb_exp(nb_neg(nb_mul(m[2], m[4])))), nb_normal_cdf(nb_sub(d1, total)));
    nb_var price = nb_sub(held, owed);
    nb_backward(price);
    result[0] = nb_value(price);
    for (int k = 0; k < PARAMETERS; k++)
        result[1 + k] = nb_grad(m[k]);
    nb_tape_free(t);
}

int main(void)
{
    double *z = malloc(sizeof *z * BATCH * STEPS);
    double european[1 + PARAMETERS], asian[1 + PARAMETERS], exact[1 + PARAMETERS], worst = 0;
    if (!z || !simulate("European", false, z, european) || !simulate("Asian   ", true, z, asian))
        return 1;
    formula(exact);
    printf("%d paths of %d steps\n\n%-10s%12s%12s%12s\n", BATCH * BATCHES, STEPS, "", "European",
           "formula", "Asian");
    for (int k = 0; k <= PARAMETERS; k++) {
        printf("%-10s%12.3f%12.3f%12.3f\n", names[k], european[k], exact[k], asian[k]);
        worst = fmax(worst, fabs(european[k] / exact[k] - 1));
    }
    free(z);
    printf("\nThe European figures are within 1 %% of the formula: %s\n",
           worst < 0.01 ? "yes" : "no");
    return worst < 0.01 ? 0 : 1;
}
