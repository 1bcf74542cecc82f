/* What one elementary function costs per element.
 *
 * Each function runs over 10^6 values drawn evenly from an interval where it does all its
 * work, output to a second array, so that memory traffic is part of the figure as it
 * is for a tensor. Before timing, every tenth result is verified against the C library.
 * A figure is the median over repeated passes. `ns_per_element_l1` is the same over an
 * array that stays in the first-level cache: the cost of the arithmetic alone.
 *
 * Lines: bench elementwise <function>_<f32|f64> <figure> <value> ns <bar>, tabs between.
 * --quick makes fewer passes. The bars are for float on AVX-512 at 2.5 GHz. */
#include "kernels/vmath.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { COUNT = 1000000, SMALL = 2048, MOST_PASSES = 101 };

static double sigmoid(double x) { return x >= 0 ? 1 / (1 + exp(-x)) : exp(x) / (1 + exp(x)); }

static const struct {
    const char *name;
    size_t at; /* of the member in nbi_vmath */
    double (*reference)(double);
    double low, high;
    const char *bar; /* of the float form */
} cases[] = {
    {"exp", offsetof(nbi_vmath, exp), exp, -20, 20, "<=0.35"},
    {"tanh", offsetof(nbi_vmath, tanh), tanh, -5, 5, "<=0.35"},
    {"sigmoid", offsetof(nbi_vmath, sigmoid), sigmoid, -10, 10, "<=0.35"},
    {"log", offsetof(nbi_vmath, log), log, 0.01, 100, "-"},
    {"sin", offsetof(nbi_vmath, sin), sin, -10, 10, "-"},
    {"cos", offsetof(nbi_vmath, cos), cos, -10, 10, "-"},
    {"expm1", offsetof(nbi_vmath, expm1), expm1, -5, 5, "-"},
    {"log1p", offsetof(nbi_vmath, log1p), log1p, -0.9, 10, "-"},
    {"erf", offsetof(nbi_vmath, erf), erf, -3, 3, "-"},
};

/* Processor time of this thread: what others take of a shared machine does not count. */
static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Median nanoseconds per element of passes that together touch `total` elements each. */
static double measure(nbi_vmath_fn fn, int64_t n, int64_t total, int passes, const void *x, void *y)
{
    double t[MOST_PASSES];
    for (int p = 0; p < passes; p++) {
        const double start = now();
        for (int64_t done = 0; done < total; done += n)
            fn(n, x, y);
        t[p] = (now() - start) * 1e9 / (double)total;
    }
    qsort(t, (size_t)passes, sizeof *t, ascending);
    return t[passes / 2];
}

static double element(bool is_double, const void *x, int64_t i)
{
    return is_double ? ((const double *)x)[i] : (double)((const float *)x)[i];
}

static void verify(const char *name, double (*f)(double), bool is_double, const void *x,
                   const void *y)
{
    for (int64_t i = 0; i < COUNT; i += 10) {
        const double right = f(element(is_double, x, i)),
                     error = fabs(element(is_double, y, i) - right);
        if (!(error <= fabs(right) * (is_double ? 1e-15 : 3e-7))) {
            fprintf(stderr, "%s(%.17g) is wrong by %g\n", name, element(is_double, x, i), error);
            exit(EXIT_FAILURE);
        }
    }
}

static void run_case(nbi_isa isa, bool is_double, int which, int passes, void *x, void *y)
{
    nbi_vmath_fn fn;
    memcpy(&fn, (const char *)nbi_vmath_choose(isa, is_double) + cases[which].at, sizeof fn);
    for (int64_t i = 0; i < COUNT; i++) {
        const double u = (double)(i * 618033 % COUNT) / COUNT;
        const double v = cases[which].low + (cases[which].high - cases[which].low) * u;
        if (is_double)
            ((double *)x)[i] = v;
        else
            ((float *)x)[i] = (float)v;
    }
    fn(COUNT, x, y);
    verify(cases[which].name, cases[which].reference, is_double, x, y);
    const char *type = is_double ? "f64" : "f32", *bar = is_double ? "-" : cases[which].bar;
    printf("bench\telementwise\t%s_%s\tns_per_element\t%.4g\tns\t%s\n", cases[which].name, type,
           measure(fn, COUNT, COUNT, passes, x, y), bar);
    printf("bench\telementwise\t%s_%s\tns_per_element_l1\t%.4g\tns\t-\n", cases[which].name, type,
           measure(fn, SMALL, SMALL * 256, passes, x, y));
}

int main(int argc, char **argv)
{
    const bool quick = argc > 1 && strcmp(argv[1], "--quick") == 0;
    const nbi_isa isa = nbi_isa_lower(nbi_isa_best(), getenv("NABLA_ISA"));
    void *x = aligned_alloc(64, COUNT * sizeof(double)),
         *y = aligned_alloc(64, COUNT * sizeof(double));
    if (!x || !y)
        return EXIT_FAILURE;
    for (int is_double = 0; is_double < 2; is_double++)
        for (int c = 0; c < (int)(sizeof cases / sizeof *cases); c++)
            run_case(isa, is_double, c, quick ? 11 : MOST_PASSES, x, y);
    free(x), free(y);
    return EXIT_SUCCESS;
}
