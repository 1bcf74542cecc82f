/* What one elementary function, and one row of the table, costs per element.
 *
 * Each function runs over 10^6 values drawn evenly from an interval where it does all its
 * work, output to a second array, so that memory traffic is part of the figure as it
 * is for a tensor. Before timing, every tenth result is verified against the C library.
 * A figure is the median over repeated passes. `ns_per_element_l1` is the same over an
 * array that stays in the first-level cache: the cost of the arithmetic alone.
 *
 * A row runs as its kernel does on a tensor, forward and reverse by its first operand, on the
 * same arrays in the first-level cache; the plain kernel verifies what it gives. `ns_call_8` is
 * a whole call on 8 elements, overhead and all.
 *
 * Lines: bench elementwise <function>_<f32|f64> <figure> <value> ns <bar>, tabs between.
 * --quick makes fewer passes. The bars are for float on AVX-512 at 2.5 GHz. */
#include "kernels/elementwise.h"
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

/* ---- rows of the table ----------------------------------------------------------------------- */

static const struct {
    const char *name;
    enum nbi_row row;
    size_t arity;
} row_cases[] = {
    {"add", NBI_ROW_add, 2},           {"max", NBI_ROW_max, 2},
    {"relu", NBI_ROW_relu, 1},         {"tanh", NBI_ROW_tanh, 1},
    {"exp", NBI_ROW_exp, 1},           {"sigmoid", NBI_ROW_sigmoid, 1},
    {"softplus", NBI_ROW_softplus, 1}, {"gelu", NBI_ROW_gelu, 1},
    {"silu", NBI_ROW_silu, 1},         {"exp2", NBI_ROW_exp2, 1},
    {"log2", NBI_ROW_log2, 1},         {"log10", NBI_ROW_log10, 1},
    {"cbrt", NBI_ROW_cbrt, 1},         {"pow", NBI_ROW_pow, 2},
    {"hypot", NBI_ROW_hypot, 2},       {"sin", NBI_ROW_sin, 1},
    {"cos", NBI_ROW_cos, 1},           {"tan", NBI_ROW_tan, 1},
    {"asin", NBI_ROW_asin, 1},         {"acos", NBI_ROW_acos, 1},
    {"atan", NBI_ROW_atan, 1},         {"atan2", NBI_ROW_atan2, 2},
    {"sinh", NBI_ROW_sinh, 1},         {"cosh", NBI_ROW_cosh, 1},
    {"asinh", NBI_ROW_asinh, 1},       {"acosh", NBI_ROW_acosh, 1},
    {"atanh", NBI_ROW_atanh, 1},       {"lgamma", NBI_ROW_lgamma, 1},
    {"digamma", NBI_ROW_digamma, 1},
};

/* One array of the row for each purpose, of n elements. */
typedef struct row_arrays {
    nb_array in[2], r, g, to;
    int64_t n;
} row_arrays;

static const nbi_crew alone = {NULL, 0};

static void row_pass(const nbi_row_kernels *kernels, int c, bool reverse, const row_arrays *a)
{
    if (reverse)
        nbi_row_reverse(&alone, kernels, row_cases[c].row, 0, row_cases[c].arity, a->in, &a->r,
                        &a->g, &a->to, false);
    else
        nbi_row_forward(&alone, kernels, row_cases[c].row, row_cases[c].arity, a->in, &a->r);
}

static double measure_row(const nbi_row_kernels *kernels, int c, bool reverse, const row_arrays *a,
                          int passes)
{
    enum { CALLS = 200 };
    double t[MOST_PASSES];
    for (int p = 0; p < passes; p++) {
        const double start = now();
        for (int i = 0; i < CALLS; i++)
            row_pass(kernels, c, reverse, a);
        t[p] = (now() - start) * 1e9 / CALLS;
    }
    qsort(t, (size_t)passes, sizeof *t, ascending);
    return t[passes / 2];
}

/* The result and the gradient against the plain kernels', which are run first. */
static void verify_row(const nbi_row_kernels *kernels, int c, const row_arrays *a, void *right)
{
    const bool is_double = a->r.dtype == NB_F64;
    for (int reverse = 0; reverse < 2; reverse++) {
        const void *got = reverse ? a->to.data : a->r.data;
        row_pass(&nbi_row_kernels_plain, c, reverse, a);
        memcpy(right, got, (size_t)a->n * sizeof(double));
        row_pass(kernels, c, reverse, a);
        for (int64_t i = 0; i < a->n; i++) {
            const double v = element(is_double, got, i), b = element(is_double, right, i);
            const bool same = v == b || (isnan(v) && isnan(b));
            if (!same && !(fabs(v - b) <= (fabs(b) + 0.1) * (is_double ? 1e-14 : 3e-7))) {
                fprintf(stderr, "row %s is wrong\n", row_cases[c].name);
                exit(EXIT_FAILURE);
            }
        }
    }
}

static void run_row(nbi_isa isa, bool is_double, int c, int passes, void *memory)
{
    const nbi_row_kernels *kernels = nbi_row_kernels_choose(isa);
    const char *type = is_double ? "f64" : "f32";
    int64_t dims[1] = {SMALL};
    double *at = memory;
    nb_array v[5];
    for (int k = 0; k < 5; k++, at += SMALL) {
        v[k] = (nb_array){.dtype = is_double ? NB_F64 : NB_F32,
                          .rank = 1,
                          .dims = dims,
                          .size = SMALL,
                          .data = at};
        for (int64_t i = 0; i < SMALL; i++) {
            const double value = (double)((i * 617 + k * 331) % SMALL) * 8 / SMALL - 4;
            if (is_double)
                at[i] = value;
            else
                ((float *)at)[i] = (float)value;
        }
    }
    row_arrays a = {{v[0], v[1]}, v[2], v[3], v[4], SMALL};
    verify_row(kernels, c, &a, at);
    for (int reverse = 0; reverse < 2; reverse++)
        printf("bench\telementwise\trow_%s_%s\t%s\t%.4g\tns\t-\n", row_cases[c].name, type,
               reverse ? "ns_reverse" : "ns_forward",
               measure_row(kernels, c, reverse, &a, passes) / SMALL);
    dims[0] = 8;
    a.in[0].size = a.in[1].size = a.r.size = 8;
    printf("bench\telementwise\trow_%s_%s\tns_call_8\t%.4g\tns\t-\n", row_cases[c].name, type,
           measure_row(kernels, c, false, &a, passes));
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
    for (int is_double = 0; is_double < 2; is_double++)
        for (int c = 0; c < (int)(sizeof row_cases / sizeof *row_cases); c++)
            run_row(isa, is_double, c, quick ? 11 : MOST_PASSES, x);
    free(x), free(y);
    return EXIT_SUCCESS;
}
