/*
 * The elementary functions in vectors, held to a wider arithmetic.
 *
 * test_lanes holds every row's kernels to the plain ones on the range that the table names. Here
 * the rows whose vector forms are the library's own work, not the C library's, are held to the long
 * double library over everything a double can be: all bit patterns, the intervals where the functions
 * do their work, the neighbourhoods of 1 and of their zeros, results at both ends of the range.
 * The error is counted in units in the last place of the exact result, subnormal results
 * included, and where the long double library gives an infinity, a NaN or a zero, so must the
 * kernel, sign and all. Powers whose exact value is a double must come out exactly, and sine and
 * cosine together are bitwise what they are apart.
 */
#include "kernels/elementwise.h"
#include "kernels/vmath.h"

#include "run.h"

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

enum { SAMPLES = 30000 };
#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))

typedef long double (*exact1)(long double);
typedef long double (*exact2)(long double, long double);

static const struct {
    const char *name;
    enum nbi_row row;
    double ulps; /* the bound, in double */
    exact1 one;
    exact2 two;
    double low, high; /* where the first operand does its work */
} functions[] = {
    {"exp2", NBI_ROW_exp2, 1, exp2l, NULL, -1080, 1030},
    {"log2", NBI_ROW_log2, 1, log2l, NULL, 0, 4},
    {"log10", NBI_ROW_log10, 1, log10l, NULL, 0, 20},
    {"cbrt", NBI_ROW_cbrt, 1, cbrtl, NULL, -9, 9},
    {"tan", NBI_ROW_tan, 2.5, tanl, NULL, -8, 8},
    {"asin", NBI_ROW_asin, 1.5, asinl, NULL, -1, 1},
    {"acos", NBI_ROW_acos, 1.5, acosl, NULL, -1, 1},
    {"atan", NBI_ROW_atan, 1.5, atanl, NULL, -5, 5},
    {"sinh", NBI_ROW_sinh, 2, sinhl, NULL, -711, 711},
    {"cosh", NBI_ROW_cosh, 1.5, coshl, NULL, -711, 711},
    {"asinh", NBI_ROW_asinh, 1, asinhl, NULL, -9, 9},
    {"acosh", NBI_ROW_acosh, 1, acoshl, NULL, 1, 9},
    {"atanh", NBI_ROW_atanh, 1, atanhl, NULL, -1, 1},
    {"pow", NBI_ROW_pow, 1, NULL, powl, 0, 9},
    {"powi", NBI_ROW_powi, 1, NULL, powl, -9, 9},
    {"hypot", NBI_ROW_hypot, 1, NULL, hypotl, -9, 9},
    {"atan2", NBI_ROW_atan2, 1.5, NULL, atan2l, -9, 9},
};

static const double special[] = {
    0,
    (double)INFINITY,
    (double)NAN,
    1,
    2,
    3,
    0.5,
    0.5 + DBL_EPSILON / 2,
    0.5 - DBL_EPSILON / 4,
    1 + DBL_EPSILON,
    1 - DBL_EPSILON / 2,
    2.5,
    1e-320,
    5e-324,
    DBL_MIN,
    DBL_MIN *(1 - DBL_EPSILON),
    DBL_MAX,
    0x1p53,
    0x1p53 - 1,
    0x1p53 + 2,
    0x1p70,
    1e300,
    1e-300,
    0x1p500,
    0x1p-500,
    0x1p-450,
    0x1p600,
    0x1p30,
    0x1p-27,
    0x1p-28,
    1023.9999999999999,
    1024,
    1074,
    1074.5,
    1075,
    1075.1,
    710.4758600739439,
    710.475860073944,
    711,
    1.5707963267948966,
    3.1415926535897931,
    0.78539816339744828,
    0x1.8p20,
    0.70710678118654746,
    0.70710678118654757,
    1000,
    1e15,
    1e22,
};
enum { SPECIAL = 2 * COUNT(special) };

static uint64_t state;

static uint64_t bits(void)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return state >> 32;
}

static double uniform(double lo, double hi)
{
    return lo + (hi - lo) * ((double)(bits() << 21 ^ bits()) * 0x1p-53);
}

static double special_of(int i) { return i % 2 ? -special[i / 2] : special[i / 2]; }

static double pattern(void)
{
    const uint64_t u = bits() << 32 | bits();
    double v;
    memcpy(&v, &u, sizeof v);
    return v;
}

/* A double of any kind. */
static double sample(double low, double high)
{
    switch (bits() % 6) {
    case 0: return pattern();
    case 1:
    case 2: return uniform(low, high);
    case 3: return uniform(0, 1) < 0.5 ? uniform(0.5, 1.5) : -uniform(0.5, 1.5);
    case 4: return (1 + ldexp(uniform(-1, 1), (int)uniform(-52, 0))) * (bits() % 4 ? 1 : -1);
    default: return ldexp(uniform(-1, 1), (int)uniform(-60, 60));
    }
}

/* An exponent that keeps x to the power y in range, or just about. */
static double exponent(double x)
{
    const double most = 1080 / fabs(log2(fabs(x)));
    const double y = uniform(-fmin(most, 1e300), fmin(most, 1e300));
    switch (bits() % 4) {
    case 0: return round(y);
    case 1: return (double)(bits() % 41) - 20;
    default: return y;
    }
}

typedef union column {
    double d[SAMPLES];
    float f[SAMPLES];
} column;

static column x, y, got;

static double get(nb_dtype t, const column *c, int i)
{
    return t == NB_F64 ? c->d[i] : (double)c->f[i];
}

static void put(nb_dtype t, column *c, int i, double v)
{
    if (t == NB_F64)
        c->d[i] = v;
    else
        c->f[i] = (float)v;
}

/* Of the second operand, a third bear a simple relation to the first. */
static double partner(int f, double first)
{
    if (functions[f].row == NBI_ROW_pow)
        return bits() % 4 ? exponent(first) : sample(-9, 9);
    if (functions[f].row == NBI_ROW_powi)
        return bits() % 8 ? round(exponent(first)) : round(sample(-999, 999));
    return bits() % 3 ? sample(-9, 9) : first * ldexp(uniform(-1, 1), (int)uniform(-40, 40));
}

static void fill(int f, nb_dtype t)
{
    const bool binary = functions[f].two;
    state = 1;
    for (int i = 0; i < SAMPLES; i++) {
        const bool fixed = i < (binary ? SPECIAL * SPECIAL : SPECIAL);
        double a = fixed ? special_of(i % SPECIAL) : sample(functions[f].low, functions[f].high);
        put(t, &x, i, a);
        a = get(t, &x, i);
        double b = fixed ? special_of(i / SPECIAL % SPECIAL) : binary ? partner(f, a) : 0;
        put(t, &y, i, functions[f].row == NBI_ROW_powi && fixed ? round(b) : b);
    }
}

/* |a - exact| in units of the last place; 0 where both are the same infinity, zero or both NaN. */
static double units(nb_dtype t, double a, long double exact)
{
    const int digits = t == NB_F64 ? 53 : 24, least = t == NB_F64 ? DBL_MIN_EXP : FLT_MIN_EXP;
    const double nearest = t == NB_F64 ? (double)exact : (double)(float)exact;
    if (isnan(exact) || isnan(a))
        return isnan(exact) && isnan(a) ? 0 : HUGE_VAL;
    if (a == nearest)
        return exact == 0 && !signbit(a) != !signbit(exact) ? HUGE_VAL : 0;
    int e;
    frexpl(exact, &e);
    return (double)(fabsl((long double)a - exact) / ldexpl(1, (e < least ? least : e) - digits));
}

static long double exact_of(int f, double a, double b)
{
    return functions[f].two ? functions[f].two((long double)a, (long double)b)
                            : functions[f].one((long double)a);
}

static void check_units(nbi_isa isa, nb_dtype t, int f)
{
    const int64_t step[3] = {1, 1, 1};
    const void *const in[3] = {&x, &y, &y};
    double worst = 0;
    int at = 0;
    fill(f, t);
    nbi_row_kernels_choose(isa)->forward[t][functions[f].row](SAMPLES, in, step, &got);
    for (int i = 0; i < SAMPLES; i++) {
        const long double exact = exact_of(f, get(t, &x, i), get(t, &y, i));
        const double error = units(t, get(t, &got, i), exact);
        if (!(error <= worst))
            worst = error, at = i;
    }
    ck_assert_msg(worst <= (t == NB_F64 ? functions[f].ulps : 1),
                  "%s %s %s: %g units at (%.17g, %.17g): %.17g", nbi_isa_name(isa),
                  t == NB_F64 ? "double" : "float", functions[f].name, worst, get(t, &x, at),
                  get(t, &y, at), get(t, &got, at));
}

START_TEST(test_bounds)
{
    for (int isa = 1; isa < NBI_ISA_COUNT; isa++)
        for (int t = 0; t < 2 && nbi_isa_available((nbi_isa)isa); t++)
            check_units((nbi_isa)isa, (nb_dtype)t, _i);
}
END_TEST

/* out[i] = function of the row at (x[i], y[i]) */
static void forward(nbi_isa isa, enum nbi_row row, int64_t n)
{
    const int64_t step[3] = {1, 1, 1};
    const void *const in[3] = {&x, &y, &y};
    nbi_row_kernels_choose(isa)->forward[NB_F64][row](n, in, step, &got);
}

/* b^k for every base and exponent whose power has at most 53 bits, also scaled by powers of two. */
static void check_powers(nbi_isa isa)
{
    static double want[SAMPLES];
    int n = 0;
    for (int b = 1; b < 1000; b++)
        for (int scale = -20; scale <= 20; scale += 20) {
            double power = 1;
            for (int k = 1; k < 20 && power * b <= 0x1p53 && n < SAMPLES; k++, n++) {
                power *= b;
                x.d[n] = ldexp(k % 2 ? b : -b, scale), y.d[n] = k;
                want[n] = ldexp(power, scale * k);
            }
        }
    forward(isa, NBI_ROW_pow, n);
    for (int i = 0; i < n; i++)
        if (got.d[i] != want[i])
            ck_abort_msg("%s: %.17g to the power %.17g: %.17g for %.17g", nbi_isa_name(isa), x.d[i],
                         y.d[i], got.d[i], want[i]);
}

START_TEST(test_exact_results)
{
    for (int isa = 1; isa < NBI_ISA_COUNT; isa++)
        if (nbi_isa_available((nbi_isa)isa)) {
            check_powers((nbi_isa)isa);
            for (int i = 0; i <= 22; i++)
                x.d[i] = i ? 10 * x.d[i - 1] : 1;
            forward((nbi_isa)isa, NBI_ROW_log10, 23);
            for (int i = 0; i <= 22; i++)
                ck_assert(got.d[i] == i);
            for (int i = 0; i < 2098; i++)
                x.d[i] = ldexp(1, i - 1074);
            forward((nbi_isa)isa, NBI_ROW_log2, 2098);
            memcpy(&x, &got, sizeof x);
            forward((nbi_isa)isa, NBI_ROW_exp2, 2098);
            int wrong = 0;
            for (int i = 0; i < 2098; i++)
                wrong += x.d[i] != i - 1074 || got.d[i] != ldexp(1, i - 1074);
            ck_assert_int_eq(wrong, 0);
        }
}
END_TEST

/* Pieces of every length up to a few vectors, one of them in place, and nothing beyond. */
static void check_together(const nbi_vmath *v, nb_dtype t)
{
    static column s, c, together;
    const size_t size = t == NB_F64 ? sizeof(double) : sizeof(float);
    for (int i = 0; i < SAMPLES; i++)
        put(t, &x, i, i < SPECIAL ? special_of(i) : sample(-8, 8));
    v->sin(SAMPLES, &x, &s), v->cos(SAMPLES, &x, &c);
    v->sincos(SAMPLES, &x, &got, &y);
    ck_assert_mem_eq(&got, &s, SAMPLES * size);
    ck_assert_mem_eq(&y, &c, SAMPLES * size);
    for (int n = 0; n < 40; n++) {
        memcpy(&together, &x, sizeof x), memset(&got, 0, sizeof got);
        v->sincos(n, &together, &together, &got);
        ck_assert_mem_eq(&together, &s, (size_t)n * size);
        ck_assert_mem_eq(&got, &c, (size_t)n * size);
        ck_assert(get(t, &got, n) == 0);
        ck_assert_mem_eq((char *)&together + (size_t)n * size, (char *)&x + (size_t)n * size, 64);
    }
}

START_TEST(test_sine_with_cosine)
{
    state = 1;
    for (int isa = 0; isa < NBI_ISA_COUNT; isa++)
        for (int t = 0; t < 2 && nbi_isa_available((nbi_isa)isa); t++)
            check_together(nbi_vmath_choose((nbi_isa)isa, t == NB_F64), (nb_dtype)t);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("vmath");
    TCase *elementary = tcase_create("elementary");
    tcase_set_timeout(elementary, 60);
    tcase_add_loop_test(elementary, test_bounds, 0, COUNT(functions));
    tcase_add_test(elementary, test_exact_results);
    tcase_add_test(elementary, test_sine_with_cosine);
    suite_add_tcase(suite, elementary);
    return run_suite(suite);
}
