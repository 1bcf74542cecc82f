/* How much of the machine the matrix product reaches.
 *
 * The yardstick is measured in the same run: a loop of nothing but independent fused
 * multiply-adds on registers of the widest kind the kernels use, timed just before each
 * case, because the clock of a shared machine moves. `of_peak` is the product's rate
 * over that; `of_openblas` and `of_onednn`, where the system has those libraries, over
 * their rates on the same operands in turns, and `of_best_blas` over the better of them. Each case is first verified against a plain triple loop on sampled
 * elements. A figure is the median of many short timings, each long enough (about
 * a millisecond) for the clock that times it.
 *
 * Lines: bench matmul <m>x<n>x<k>_<nn|nt|tn>_<f32|f64> <figure> <value> <unit> <bar>, tabs
 * between. --quick times each case more briefly; other arguments select cases by
 * text contained in their name. */
#include "bench.h"
#include "kernels/matmul.h"
#include "peak.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#ifdef NB_HAVE_OPENBLAS
#include <cblas.h>
#endif
#ifdef NB_HAVE_ONEDNN
#include <dnnl.h>
#endif

enum { MOST_SAMPLES = 64 };

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

static double median(double *v, int n)
{
    qsort(v, (size_t)n, sizeof *v, ascending);
    return v[n / 2];
}

/* ---- one case -------------------------------------------------------------------------------- */

typedef struct {
    int64_t m, n, k;
    const char *form; /* nn, nt, tn */
    const char *of_peak, *of_blas;
} shape;

typedef struct {
    nbi_isa isa;
    bool is_double, quick;
} setting;

static double element(bool is_double, const void *x, int64_t at)
{
    return is_double ? ((const double *)x)[at] : (double)((const float *)x)[at];
}

static void *operand(bool is_double, int64_t count, unsigned seed)
{
    size_t bytes = (size_t)count * (is_double ? 8 : 4);
    void *x = aligned_alloc(64, (bytes + 127) / 64 * 64);
    if (!x)
        exit(EXIT_FAILURE);
    for (int64_t i = 0; i < count; i++) {
        seed = seed * 1664525U + 1013904223U;
        double v = (double)(seed >> 8) / 16777216.0 - 0.5;
        if (is_double)
            ((double *)x)[i] = v;
        else
            ((float *)x)[i] = (float)v;
    }
    return x;
}

/* A hundred elements of C against plain sums. */
static void verify(const char *name, const nbi_matmul *x, bool is_double)
{
    for (int64_t s = 0; s < 100; s++) {
        int64_t i = s * 7919 % x->m, j = s * 104729 % x->n;
        double sum = 0, size = 0;
        for (int64_t p = 0; p < x->k; p++) {
            double t = element(is_double, x->a, x->ta ? p * x->lda + i : i * x->lda + p) *
                       element(is_double, x->b, x->tb ? j * x->ldb + p : p * x->ldb + j);
            sum += t, size += fabs(t);
        }
        double error = fabs(element(is_double, x->c, i * x->ldc + j) - sum);
        if (!(error <= size * (is_double ? 1e-13 : 1e-5))) {
            fprintf(stderr, "%s: element %ld,%ld is wrong by %g\n", name, (long)i, (long)j, error);
            exit(EXIT_FAILURE);
        }
    }
}

/* ---- the other libraries --------------------------------------------------------------------- */

typedef void product_fn(const nbi_matmul *, bool is_double);

#ifdef NB_HAVE_OPENBLAS
static void openblas(const nbi_matmul *x, bool is_double)
{
    const CBLAS_TRANSPOSE ta = x->ta ? CblasTrans : CblasNoTrans;
    const CBLAS_TRANSPOSE tb = x->tb ? CblasTrans : CblasNoTrans;
    const blasint m = (blasint)x->m, n = (blasint)x->n, k = (blasint)x->k;
    const blasint lda = (blasint)x->lda, ldb = (blasint)x->ldb, ldc = (blasint)x->ldc;
    if (is_double)
        cblas_dgemm(CblasRowMajor, ta, tb, m, n, k, 1, x->a, lda, x->b, ldb, 0, x->c, ldc);
    else
        cblas_sgemm(CblasRowMajor, ta, tb, m, n, k, 1, x->a, lda, x->b, ldb, 0, x->c, ldc);
}
#endif

#ifdef NB_HAVE_ONEDNN
static void onednn(const nbi_matmul *x, bool is_double)
{
    (void)is_double;
    dnnl_sgemm(x->ta ? 'T' : 'N', x->tb ? 'T' : 'N', x->m, x->n, x->k, 1, x->a, x->lda, x->b,
               x->ldb, 0, x->c, x->ldc);
}
#endif

static const struct {
    const char *figure;
    product_fn *run;
    bool doubles;
} others[] = {
#ifdef NB_HAVE_OPENBLAS
    {"of_openblas", openblas, true},
#endif
#ifdef NB_HAVE_ONEDNN
    {"of_onednn", onednn, false},
#endif
    {NULL, NULL, false},
};

static double own_seconds(const nbi_matmul *x, nbi_matmul_fn run, int64_t repeats)
{
    double t = now();
    for (int64_t r = 0; r < repeats; r++)
        run(x);
    return (now() - t) / (double)repeats;
}

static double other_seconds(const nbi_matmul *x, product_fn *run, bool is_double, int64_t repeats)
{
    double t = now();
    for (int64_t r = 0; r < repeats; r++)
        run(x, is_double);
    return (now() - t) / (double)repeats;
}

static void print(const char *name, const char *figure, double value, const char *unit,
                  const char *bar)
{
    printf("bench\tmatmul\t%s\t%s\t%.4g\t%s\t%s\n", name, figure, value, unit, bar);
    fflush(stdout);
}

static void time_case(const char *name, const shape *s, const nbi_matmul *x, setting set)
{
    const double flop = 2.0 * (double)x->m * (double)x->n * (double)x->k;
    const nbi_matmul_fn run = nbi_matmul_choose(set.isa, set.is_double);
    const double top = bench_peak(set.isa, set.is_double), guess = 1.3 * flop / top + 1e-8;
    const int64_t repeats = guess > 1e-3 ? 1 : (int64_t)(1e-3 / guess) + 1;
    const double budget = set.quick ? 0.02 : 0.3;
    int samples = (int)(budget / (guess * (double)repeats));
    samples = samples < 3 ? 3 : samples > MOST_SAMPLES ? MOST_SAMPLES : samples;
    double ours[MOST_SAMPLES], share[MOST_SAMPLES];
    for (int i = 0; i < samples; i++) {
        ours[i] = own_seconds(x, run, repeats);
        share[i] = flop / ours[i] / bench_peak(set.isa, set.is_double);
    }
    print(name, "gflops", flop / median(ours, samples) * 1e-9, "gflop/s", "-");
    print(name, "of_peak", median(share, samples), "ratio", s->of_peak);
    if (flop < 1e5)
        print(name, "ns", median(ours, samples) * 1e9, "ns", "-");
    double best = (double)INFINITY;
    for (int k = 0; others[k].run; k++) {
        if (set.is_double && !others[k].doubles)
            continue;
        for (int i = 0; i < samples; i++) {
            double theirs = other_seconds(x, others[k].run, set.is_double, repeats);
            share[i] = theirs / own_seconds(x, run, repeats);
        }
        best = fmin(best, median(share, samples));
        print(name, others[k].figure, median(share, samples), "ratio", "-");
    }
    if (isfinite(best))
        print(name, "of_best_blas", best, "ratio", s->of_blas);
}

static void run_case(const shape *s, setting set, int count, char **wanted)
{
    char name[80];
    snprintf(name, sizeof name, "%ldx%ldx%ld_%s_%s", (long)s->m, (long)s->n, (long)s->k, s->form,
             set.is_double ? "f64" : "f32");
    bool any = count == 0;
    for (int i = 0; i < count; i++)
        any = any || strstr(name, wanted[i]);
    if (!any)
        return;
    const bool ta = s->form[0] == 't', tb = s->form[1] == 't';
    const size_t bytes = nbi_matmul_scratch(set.isa, set.is_double, s->m, s->n, s->k);
    void *a = operand(set.is_double, s->m * s->k, 1), *b = operand(set.is_double, s->k * s->n, 2);
    void *c = operand(set.is_double, s->m * s->n, 3);
    void *scratch = bytes ? aligned_alloc(64, (bytes + 63) / 64 * 64) : NULL;
    const nbi_matmul x = {.m = s->m,
                          .n = s->n,
                          .k = s->k,
                          .a = a,
                          .b = b,
                          .c = c,
                          .lda = ta ? s->m : s->k,
                          .ldb = tb ? s->k : s->n,
                          .ldc = s->n,
                          .ta = ta,
                          .tb = tb,
                          .scratch = scratch};
    nbi_matmul_choose(set.isa, set.is_double)(&x);
    verify(name, &x, set.is_double);
    time_case(name, s, &x, set);
    free(a), free(b), free(c), free(scratch);
}

static const shape squares[] = {
    {64, 64, 64, "nn", ">=0.80", "-"},       {128, 128, 128, "nn", ">=0.85", "-"},
    {256, 256, 256, "nn", ">=0.85", "-"},    {512, 512, 512, "nn", ">=0.85", "-"},
    {1024, 1024, 1024, "nn", ">=0.85", "-"}, {2048, 2048, 2048, "nn", ">=0.85", "-"},
    {512, 512, 512, "nt", ">=0.85", "-"},    {512, 512, 512, "tn", ">=0.85", "-"},
};

/* A layer with `in` inputs and `out` outputs on a batch: forward, the gradients of its input and of
 * its weights, and forward with the weights stored transposed. */
static const struct {
    int64_t batch, in, out;
} layers[] = {
    {32, 784, 128},    {128, 784, 128}, {32, 128, 10},  {64, 784, 512}, {64, 512, 512},
    {256, 1024, 1024}, {16, 64, 512},   {16, 128, 512}, {1, 784, 128},
};

int main(int argc, char **argv)
{
    setting set = {.isa = nbi_isa_lower(nbi_isa_best(), getenv("NABLA_ISA"))};
    int first = 1;
    if (argc > 1 && strcmp(argv[1], "--quick") == 0)
        set.quick = true, first = 2;
    if (!bench_one_thread(argv))
        return EXIT_FAILURE;
    for (int is_double = 0; is_double < 2; is_double++) {
        set.is_double = is_double;
        for (size_t i = 0; i < sizeof squares / sizeof *squares; i++)
            run_case(&squares[i], set, argc - first, argv + first);
        const shape tiny = {8, 8, 8, "nn", "-", "-"};
        run_case(&tiny, set, argc - first, argv + first);
    }
    set.is_double = false;
    for (size_t i = 0; i < sizeof layers / sizeof *layers; i++) {
        const int64_t batch = layers[i].batch, in = layers[i].in, out = layers[i].out;
        const shape forms[] = {{batch, out, in, "nn", "-", ">=0.95"},
                               {batch, in, out, "nt", "-", ">=0.95"},
                               {in, out, batch, "tn", "-", ">=0.95"},
                               {batch, out, in, "nt", "-", "-"}};
        for (int f = 0; f < 4; f++)
            run_case(&forms[f], set, argc - first, argv + first);
    }
    return EXIT_SUCCESS;
}
