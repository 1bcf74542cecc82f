/*
 * What the benchmark programs share: a clock, a median, numbers and their comparison, the line that a
 * figure is printed on.
 *
 *     bench <program> <case> <figure> <value> <unit> <bar>          tab-separated
 */
#ifndef NABLA_BENCH_H
#define NABLA_BENCH_H

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Libraries compared with read the number of their threads from the environment before main begins,
 * so the program sets it to one and starts itself anew. Call it first. */
static inline bool bench_one_thread(char **argv)
{
    static const char *const names[] = {"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"};
    bool set = true;
    for (int k = 0; k < 2; k++) {
        const char *now = getenv(names[k]);
        set = set && now && !strcmp(now, "1");
        setenv(names[k], "1", 1);
    }
    if (!set)
        execv("/proc/self/exe", argv);
    return set;
}

/* The processor time of this thread: what other programs take does not count. */
static inline double bench_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int bench_ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Sorts v. */
static inline double bench_median(double *v, size_t n)
{
    qsort(v, n, sizeof *v, bench_ascending);
    return n ? v[n / 2] : 0;
}

static inline void bench_line(const char *program, const char *name, const char *figure,
                              double value, const char *unit, const char *bar)
{
    printf("bench\t%s\t%s\t%s\t%.6g\t%s\t%s\n", program, name, figure, value, unit, bar);
    fflush(stdout);
}

static inline bool bench_quick(int argc, char **argv)
{
    return argc > 1 && !strcmp(argv[1], "--quick");
}

/* Zeros. Without memory there is no benchmark. */
static inline double *bench_numbers(size_t n)
{
    double *p = calloc(n ? n : 1, sizeof *p);
    if (!p)
        exit(1);
    return p;
}

/* Whether a and b agree within tol of the largest number; if not, says so. */
static inline bool bench_agree(const char *what, size_t n, const double *a, const double *b,
                               double tol)
{
    double most = 1e-300, apart = 0;
    for (size_t i = 0; i < n; i++) {
        most = fmax(most, fabs(b[i]));
        apart = a[i] == a[i] ? fmax(apart, fabs(a[i] - b[i])) : (double)INFINITY;
    }
    if (!(apart <= tol * most))
        fprintf(stderr, "%s: off by %g of %g\n", what, apart, most);
    return apart <= tol * most;
}

#endif
