/*
 * What recording and sweeping scalar ops costs.
 *
 * The program, over 100 inputs:
 *
 *     s = s x[i % n] + x[7 i % n] x[3 i % n];   s = s / (1 + s s);   t += s
 *
 * seven operations a round. Timed beside it in the same run: the plain C function, which gives the
 * unit, and a gradient written by hand (values of all rounds kept, then one pass back). Case `chain`
 * records every op by a call of its own, `chain_fused` uses the ops of several operands where they
 * apply (the unit stays the plain function's time per operation), `chain_1e8` has 10^8 operations.
 * The tape is reused, as in any loop; before timing, gradients are held to the hand-written ones.
 */
#include "bench.h"

#include <math.h>
#include <nabla.h>
#include <stdint.h>

enum { INPUTS = 100, OPS_PER_ROUND = 7, MOST = 64 };

static double plain(const double *x, long rounds)
{
    double s = 0.5, t = 0;
    for (long i = 0; i < rounds; i++) {
        s = s * x[i % INPUTS] + x[(i * 7) % INPUTS] * x[(i * 3) % INPUTS];
        s = s / (1 + s * s);
        t += s;
    }
    return t;
}

/* The gradient by hand. kept holds s before and between the two assignments of each round. */
static double by_hand(const double *x, long rounds, double *kept, double *g)
{
    double s = 0.5, t = 0, ds = 0;
    for (long i = 0; i < rounds; i++) {
        kept[2 * i] = s;
        s = s * x[i % INPUTS] + x[(i * 7) % INPUTS] * x[(i * 3) % INPUTS];
        kept[2 * i + 1] = s;
        s = s / (1 + s * s);
        t += s;
    }
    memset(g, 0, INPUTS * sizeof *g);
    for (long i = rounds; i-- > 0;) {
        const long a = i % INPUTS, b = (i * 7) % INPUTS, c = (i * 3) % INPUTS;
        const double u = kept[2 * i + 1], q = 1 + u * u;
        ds = (ds + 1) * (1 - u * u) / (q * q);
        g[a] += ds * kept[2 * i];
        g[b] += ds * x[c];
        g[c] += ds * x[b];
        ds *= x[a];
    }
    return t;
}

/* ---- the same on a tape ---------------------------------------------------------------------- */

static nb_var record(const nb_var *x, long rounds, nb_var s, nb_var t)
{
    for (long i = 0; i < rounds; i++) {
        s = nb_add(nb_mul(s, x[i % INPUTS]), nb_mul(x[(i * 7) % INPUTS], x[(i * 3) % INPUTS]));
        s = nb_div(s, nb_add(1, nb_mul(s, s)));
        t = nb_add(t, s);
    }
    return t;
}

static nb_var record_fused(const nb_var *x, long rounds, nb_var s, nb_var t)
{
    for (long i = 0; i < rounds; i++) {
        s = nb_fma(s, x[i % INPUTS], nb_mul(x[(i * 7) % INPUTS], x[(i * 3) % INPUTS]));
        s = nb_div(s, nb_fma(s, s, 1));
        t = nb_add(t, s);
    }
    return t;
}

typedef struct figures {
    double plain, hand, tape; /* seconds for the whole program, medians */
    size_t bytes;             /* that the recording grew the tape's contents by */
} figures;

static nb_var run(nb_tape *t, const double *x, long rounds, bool fused, nb_var *in)
{
    nb_reset(t);
    for (int i = 0; i < INPUTS; i++)
        in[i] = nb_input(t, NULL, x[i]);
    nb_var s = nb_input(t, NULL, 0.5), zero = nb_input(t, NULL, 0);
    nb_var f = fused ? record_fused(in, rounds, s, zero) : record(in, rounds, s, zero);
    nb_backward(f);
    return f;
}

static bool right(nb_tape *t, const double *x, long rounds, bool fused, double *kept)
{
    double g[INPUTS];
    nb_var in[INPUTS];
    double want = by_hand(x, rounds, kept, g);
    nb_var f = run(t, x, rounds, fused, in);
    bool ok = nb_status(t) == NB_OK && fabs(nb_value(f) - want) <= 1e-9 * fabs(want);
    for (int i = 0; i < INPUTS; i++)
        ok = ok && fabs(nb_grad(in[i]) - g[i]) <= 1e-9 * fabs(g[i]) + 1e-12;
    if (!ok)
        fprintf(stderr, "scalar: the tape's gradient is not the hand-written one: %s\n",
                nb_message(t));
    return ok;
}

static bool measure(long ops, bool fused, int repeats, figures *out)
{
    const long rounds = ops / OPS_PER_ROUND;
    double x[INPUTS], g[INPUTS], times[3][MOST], sink = 0;
    nb_var in[INPUTS];
    double *kept = malloc((size_t)rounds * 2 * sizeof *kept);
    nb_tape *t = nb_tape_new(NULL);
    for (int i = 0; i < INPUTS; i++)
        x[i] = 0.3 + 0.005 * i;
    bool ok = kept && t && right(t, x, rounds, fused, kept);
    for (int r = 0; ok && r < repeats; r++) {
        double a = bench_now();
        sink += plain(x, rounds);
        double b = bench_now();
        sink += by_hand(x, rounds, kept, g);
        double c = bench_now();
        sink += nb_value(run(t, x, rounds, fused, in));
        double d = bench_now();
        times[0][r] = b - a, times[1][r] = c - b, times[2][r] = d - c;
    }
    if (ok) {
        *out = (figures){bench_median(times[0], (size_t)repeats),
                         bench_median(times[1], (size_t)repeats),
                         bench_median(times[2], (size_t)repeats), nb_tape_used(t)};
        ok = isfinite(sink);
    }
    nb_tape_free(t);
    free(kept);
    return ok;
}

static void report(const char *name, const figures *f, double ops, const char *ratio_bar,
                   const char *bytes_bar)
{
    bench_line("scalar", name, "ratio", f->tape / f->plain, "x", ratio_bar);
    bench_line("scalar", name, "hand_over_plain", f->hand / f->plain, "x", "-");
    bench_line("scalar", name, "ns_per_op", 1e9 * f->tape / ops, "ns", "-");
    bench_line("scalar", name, "plain_ns_per_op", 1e9 * f->plain / ops, "ns", "-");
    bench_line("scalar", name, "bytes_per_op", (double)f->bytes / ops, "B", bytes_bar);
}

int main(int argc, char **argv)
{
    const bool quick = bench_quick(argc, argv);
    const int repeats = quick ? 9 : 31;
    const long million = 7 * 142858, many = quick ? million * 10 : million * 100;
    figures chain, fused, large;
    if (!measure(million, false, repeats, &chain) || !measure(million, true, repeats, &fused))
        return 1;
    report("chain", &chain, (double)million, "<=7.0", "<=26");
    report("chain_fused", &fused, (double)million, "<=5.5", "-");
    if (!measure(many, false, 3, &large))
        return 1;
    const char *name = quick ? "chain_1e7" : "chain_1e8";
    bench_line("scalar", name, "ns_per_op", 1e9 * large.tape / (double)many, "ns", "-");
    bench_line("scalar", name, "growth", (large.tape / large.plain) / (chain.tape / chain.plain),
               "x", "<=1.3");
    return 0;
}
