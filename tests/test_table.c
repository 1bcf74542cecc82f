/*
 * The table of derivatives, row by row.
 *
 * table.def is expanded here once more, into an array of rows, so that every test is a loop over
 * the table and a new row is tested by being there. What is asked of a row:
 *
 *  - value and slopes agree with the same bodies in long double, within ulps: that measures
 * rounding;
 *  - the slopes agree with differences of the long double value, extrapolated to step 0, within the
 *    error that the extrapolation estimates for itself: that measures truth;
 *  - a row that is more than one call or operator agrees with literal figures, computed from its
 *    textbook definition in 1600-bit arithmetic: that ties the long double bodies down;
 *  - the float functions keep the bound of the row's weight;
 *  - NaN comes out where NaN goes in;
 *  - and the hard points have the figures of the numerical conventions.
 *
 * Where long double is no wider than double, rounding cannot be measured and is not.
 */
#include "table_points.h"
#include "table_rows.h"

#include "run.h"

#include <float.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))

/* Bounds in ulp other than 4, and why; function 0 is the value, 1 to 3 the slopes */
static const struct {
    const char *name;
    int function;
    double ulps;
} bounds[] = {
    {"logaddexp", 0, 8},                          /* max(x, y) and the rest may differ in sign */
    {"logaddexp", 1, 8},                          /* the rounding of x - y */
    {"logaddexp", 2, 8},   {"gelu_tanh", 0, 104}, /* the rounding of the exponent */
    {"gelu_tanh", 1, 104}, {"gelu", 0, 8},        {"gelu", 1, 8},
    {"silu", 1, 5}, /* near their zeros left of 0 two terms of opposite sign meet */
    {"mish", 1, 7},        {"celu", 1, 5}, /* the rounding of x / y */
    {"celu", 2, 64},                       /* expm1(u) - u exp(u) is of second order in u */
    {"digamma", 1, 8},     {"polygamma", 0, 8},   {"polygamma", 1, 8},
};

/* Ranges of x beyond those of the table, in which the same bounds hold */
static const struct {
    const char *name;
    double lo, hi;
} tails[] = {
    {"exp", -700, 700},      {"expm1", -700, 700},    {"exp2", -1000, 1000},
    {"sigmoid", -700, 700},  {"tanh", -350, 350},     {"softplus", -700, 700},
    {"silu", -700, 700},     {"mish", -700, 700},     {"log_sigmoid", -700, 700},
    {"gelu", -37, 37},       {"gauss", -26, 26},      {"normal_pdf", -37, 37},
    {"erf", -6, 6},          {"erfc", -6, 26},        {"normal_cdf", -37, 37},
    {"elu", -700, 3},        {"selu", -700, 3},       {"gelu_tanh", -9, 9},
    {"sin", -1e4, 1e4},      {"cos", -1e4, 1e4},      {"tan", -1e4, 1e4},
    {"cbrt", -1e300, 1e300}, {"log", 1e-300, 1e300},  {"asinh", -1e300, 1e300},
    {"acosh", 1.0001, 1e9},  {"atan", -1e150, 1e150}, {"rsqrt", 1e-300, 1e300},
    {"sinh", -700, 700},     {"cosh", -700, 700},     {"softsign", -1e300, 1e300},
    {"lgamma", 1e-9, 1e9},   {"digamma", 1e-9, 1e9},  {"log1p", -0.9999, 1e9},
    {"asin", -1, 1},         {"acos", -1, 1},         {"atanh", -0.99999, 0.99999},
};

#define WIDEN(p)                                 \
    {                                            \
        (wide)(p)[0], (wide)(p)[1], (wide)(p)[2] \
    }

static uint64_t state;

static double uniform(double lo, double hi)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return lo + (hi - lo) * ((double)(state >> 11) * 0x1p-53);
}

/* Over a range of many magnitudes every other sample is drawn small */
static void sample(const struct row *row, double lo, double hi, double at[3])
{
    for (int i = 0; i < row->operands; i++) {
        at[i] = i == 0 ? uniform(lo, hi) : uniform(row->lo[i], row->hi[i]);
    }
    if (hi > 6 && uniform(0, 1) < 0.5) {
        double small = at[0] * pow(10, uniform(-log10(hi), 0));
        at[0] = small > lo ? small : lo;
    }
}

static double bound_of(const struct row *row, int function)
{
    for (int i = 0; i < COUNT(bounds); i++) {
        if (strcmp(bounds[i].name, row->name) == 0 && bounds[i].function == function) {
            return bounds[i].ulps;
        }
    }
    return 4;
}

/* One unit in the last of `digits` binary places of t */
static wide ulp(wide t, int digits, int least)
{
    int e;
    frexpl(t, &e);
    return ldexpl(1, (e > least ? e : least) - digits);
}

static wide wide_at(const struct row *row, int function, const wide p[3])
{
    wide r = row->f[0].w(p[0], p[1], p[2], 0);
    return function == 0 ? r : row->f[function].w(p[0], p[1], p[2], r);
}

/*
 * The magnitude whose ulp is the unit of error at p: that of t, the function there, unless it
 * changes sign nearby; then the largest nearby. A kink's jump to or from 0 counts as a change of
 * sign.
 */
static wide scale_at(const struct row *row, int function, const wide p[3], wide t)
{
    wide most = fabsl(t);
    bool change = false;
    for (int i = 0; i < row->operands; i++) {
        for (int side = -1; side <= 1; side += 2) {
            wide q[3] = {p[0], p[1], p[2]};
            q[i] += side * fmaxl(1, fabsl(q[i])) / 4;
            wide near = wide_at(row, function, q);
            change = change || near * (t > 0 ? 1 : -1) <= 0;
            most = fmaxl(most, fabsl(near));
        }
    }
    return change ? most : fabsl(t);
}

static double double_at(const struct row *row, int function, const double p[3])
{
    double r = row->f[0].d(p[0], p[1], p[2], 0);
    return function == 0 ? r : row->f[function].d(p[0], p[1], p[2], r);
}

static void check_rounding(const struct row *row, double lo, double hi, int samples)
{
    for (int s = 0; s < samples; s++) {
        double at[3] = {0};
        sample(row, lo, hi, at);
        const wide p[3] = WIDEN(at);
        for (int f = 0; f <= row->operands && row->f[f].d; f++) {
            double got = double_at(row, f, at);
            wide want = wide_at(row, f, p);
            if ((wide)got == want) {
                continue;
            }
            wide unit = ulp(scale_at(row, f, p, want), DBL_MANT_DIG, DBL_MIN_EXP);
            double error = (double)(fabsl((wide)got - want) / unit);
            ck_assert_msg(error <= bound_of(row, f),
                          "%s, function %d at (%.17g, %.17g, %.17g): "
                          "%.17g for %.17Lg, %.3g ulp",
                          row->name, f, at[0], at[1], at[2], got, want, error);
        }
    }
}

START_TEST(test_rounding)
{
    const struct row *row = &rows[_i];
    if (!HAVE_WIDE) {
        return;
    }
    check_rounding(row, row->lo[0], row->hi[0], 500);
    for (int i = 0; i < COUNT(tails); i++) {
        if (strcmp(tails[i].name, row->name) == 0) {
            check_rounding(row, tails[i].lo, tails[i].hi, 500);
        }
    }
}
END_TEST

/* Every range beyond the table's and every bound is for a row that exists */
START_TEST(test_names)
{
    int found = 0;
    for (int i = 0; i < COUNT(rows); i++) {
        for (int j = 0; j < COUNT(tails); j++) {
            found += strcmp(tails[j].name, rows[i].name) == 0;
        }
        for (int j = 0; j < COUNT(bounds); j++) {
            found += strcmp(bounds[j].name, rows[i].name) == 0;
        }
        ck_assert_msg(rows[i].text[0] != 0, "%s has no text", rows[i].name);
    }
    ck_assert_int_eq(found, COUNT(tails) + COUNT(bounds));
}
END_TEST

/* The central difference of a row's value along one operand */
static wide difference(const struct row *row, int axis, const double at[3], wide h)
{
    wide up[3] = WIDEN(at), down[3] = WIDEN(at);
    up[axis] += h;
    down[axis] -= h;
    return (wide_at(row, 0, up) - wide_at(row, 0, down)) / (up[axis] - down[axis]);
}

/*
 * Differences at steps h, h/2, h/4, ... extrapolated to step 0 (Richardson, Ridders). The error
 * estimate is the least change seen between neighbours of the tableau, and what rounding leaves.
 */
static wide extrapolate(const struct row *row, int axis, const double at[3], wide *error)
{
    enum { LEVELS = 7 };
    const wide p[3] = WIDEN(at);
    wide a[LEVELS][LEVELS], best = 0, h = 1 / 32.0L;
    *error = HUGE_VALL;
    for (int i = 0; i < LEVELS; i++, h /= 2) {
        a[i][0] = difference(row, axis, at, h);
        for (int j = 1; j <= i; j++) {
            wide four = ldexpl(1, 2 * j);
            a[i][j] = (four * a[i][j - 1] - a[i - 1][j - 1]) / (four - 1);
            wide e = fmaxl(fabsl(a[i][j] - a[i][j - 1]), fabsl(a[i][j] - a[i - 1][j - 1]));
            if (e < *error) {
                *error = e;
                best = a[i][j];
            }
        }
    }
    *error += 512 * LDBL_EPSILON * (fabsl(wide_at(row, 0, p)) + fabsl(best));
    return best;
}

/* Some samples straddle a kink, and their estimate says so; three quarters must be sharp */
START_TEST(test_slopes_against_differences)
{
    const struct row *row = &rows[_i];
    const int samples = 100;
    for (int axis = 0; axis < row->operands && row->kind != TESTING; axis++) {
        if (row->lo[axis] == row->hi[axis]) {
            continue;
        }
        int sharp = 0;
        for (int s = 0; s < samples; s++) {
            double at[3] = {0};
            sample(row, row->lo[0], row->hi[0], at);
            const wide p[3] = WIDEN(at);
            wide error, want = extrapolate(row, axis, at, &error);
            wide got = wide_at(row, axis + 1, p);
            sharp += error <= (HAVE_WIDE ? 1e-12L : 1e-8L) * fmaxl(1, fabsl(want));
            ck_assert_msg(fabsl(got - want) <= 4 * error,
                          "%s, slope %d at (%.17g, %.17g, %.17g): "
                          "%.17Lg, by differences %.17Lg +- %.3Lg",
                          row->name, axis + 1, at[0], at[1], at[2], got, want, error);
        }
        ck_assert_msg(4 * sharp >= 3 * samples, "%s, slope %d: only %d of %d differences are sharp",
                      row->name, axis + 1, sharp, samples);
    }
}
END_TEST

static const struct row *row_named(const char *name)
{
    for (int i = 0; i < COUNT(rows); i++) {
        if (strcmp(rows[i].name, name) == 0) {
            return &rows[i];
        }
    }
    ck_abort_msg("no row %s", name);
    return NULL;
}

/* `got` is `want` within ulps; NaN wants NaN */
static bool close_to(double got, double want, double ulps)
{
    if (isnan(want) || isinf(want) || want == 0) {
        return isnan(want) ? isnan(got) : got == want;
    }
    return fabs(got - want) <= ulps * (double)ulp((wide)want, DBL_MANT_DIG, DBL_MIN_EXP);
}

/* Half an ulp more, for the literal's own rounding */
static void check_point(const struct row *row, const struct point *point)
{
    for (int f = 0; f <= row->operands && row->f[f].d; f++) {
        double got = double_at(row, f, point->at), want = point->value[f];
        ck_assert_msg(want == ANY || close_to(got, want, bound_of(row, f) + 0.5),
                      "%s, function %d at (%.17g, %.17g, %.17g): %.17g instead of %.17g", row->name,
                      f, point->at[0], point->at[1], point->at[2], got, want);
    }
}

START_TEST(test_literals)
{
    const struct row *row = &rows[_i];
    int found = 0;
    for (int i = 0; i < COUNT(literals); i++) {
        if (strcmp(literals[i].name, row->name) == 0) {
            check_point(row, &literals[i]);
            found++;
        }
    }
    bool primitive = strstr(row->body, "CALL") || strstr(row->body, "FIX");
    ck_assert_msg(primitive || found > 0, "%s has no literal figures", row->name);
}
END_TEST

START_TEST(test_hard_points)
{
    const struct point *point = &hard_points[_i];
    const struct row *row = row_named(point->name);
    check_point(row, point);
    double got = double_at(row, 0, point->at), want = point->value[0];
    ck_assert_msg(want != 0 || !signbit(want) == !signbit(got), "%s: the sign of 0", row->name);
}
END_TEST

START_TEST(test_float)
{
    const struct row *row = &rows[_i];
    for (int s = 0; s < 500; s++) {
        double at[3] = {0};
        sample(row, row->lo[0], row->hi[0], at);
        const float q[3] = {(float)at[0], (float)at[1], (float)at[2]};
        const double d[3] = {(double)q[0], (double)q[1], (double)q[2]};
        const wide w[3] = WIDEN(d);
        float r = row->f[0].f(q[0], q[1], q[2], 0);
        for (int f = 0; f <= row->operands && row->f[f].f; f++) {
            float got = f == 0 ? r : row->f[f].f(q[0], q[1], q[2], r);
            wide unit = ulp(scale_at(row, f, w, wide_at(row, f, w)), FLT_MANT_DIG, FLT_MIN_EXP);
            double error = (double)(fabsl((wide)got - wide_at(row, f, w)) / unit);
            double rounded = row->f[f].d(d[0], d[1], d[2], (double)r);
            ck_assert_msg(row->weight == LIGHT || got == (float)rounded,
                          "%s, function %d at %.9g: not rounded once", row->name, f, d[0]);
            ck_assert_msg(row->weight == HEAVY || error <= 2,
                          "%s, function %d at (%.9g, %.9g, %.9g): %.9g, %.3g ulp of float",
                          row->name, f, d[0], d[1], d[2], (double)got, error);
        }
    }
}
END_TEST

/*
 * Through any operand into the value, unless a selection does not depend on that operand here; and
 * into the slope of a row of one operand, unless that is the same everywhere.
 */
START_TEST(test_nan)
{
    const struct row *row = &rows[_i];
    if (row->kind == TESTING) {
        return;
    }
    for (int i = 0; i < row->operands; i++) {
        double at[3] = {0};
        sample(row, row->lo[0], row->hi[0], at);
        double other = double_at(row, 1, at);
        sample(row, row->lo[0], row->hi[0], at);
        double slope = double_at(row, 1, at);
        if (row->operands > 1 && double_at(row, i + 1, at) == 0) {
            continue;
        }
        at[i] = NO;
        float narrow = row->f[0].f((float)at[0], (float)at[1], (float)at[2], 0);
        ck_assert_msg(isnan(double_at(row, 0, at)), "%s: operand %d", row->name, i + 1);
        ck_assert_msg(isnan(narrow), "%s in float: operand %d", row->name, i + 1);
        if (row->operands == 1 && row->kind != FLAT && slope != other) {
            ck_assert_msg(isnan(double_at(row, 1, at)), "%s: slope", row->name);
        }
    }
}
END_TEST

/* Where gamma(n + 1) overflows a double, and far from 0 on either side */
START_TEST(test_polygamma_far)
{
    static const struct point far[] = {
        {"polygamma", {3, 200}, {-9.8972933203120519e+278}},
        {"polygamma", {10000000000.0, 1}, {1.00000000005e-10}},
        {"polygamma", {1e-05, 3}, {5.999999999999998e+20}},
        {"polygamma", {-1000.25, 2}, {124.02510572269784}},
        {"polygamma", {-999999.75, 1}, {19.739207802178967}},
        {"polygamma", {2.5, 170}, {-6.5019033864740738e+238}},
        {"polygamma", {50000.0, 60}, {-1.5998670365375576e-202}},
        {"polygamma", {1e300, 1}, {1e-300}},
        {"polygamma", {5, 1e15}, {-(double)INFINITY}}, /* at once, not after 10^15 terms */
        {"polygamma", {1e14, 1e15}, {-(double)INFINITY}},
    };
    for (int i = 0; i < COUNT(far); i++) {
        double want = far[i].value[0], got = nbi_polygamma(far[i].at[0], far[i].at[1]);
        const bool right = isinf(want) ? got == want : fabs(got - want) <= 1e-13 * fabs(want);
        ck_assert_msg(right, "(%g, %g): %.17g instead of %.17g", far[i].at[0], far[i].at[1], got,
                      want);
    }
}
END_TEST

static void reset(void) { state = 1; }

int main(void)
{
    Suite *suite = suite_create("table");
    TCase *tests = tcase_create("rows");
    tcase_add_checked_fixture(tests, reset, NULL);
    tcase_add_test(tests, test_names);
    tcase_add_test(tests, test_polygamma_far);
    tcase_add_loop_test(tests, test_rounding, 0, COUNT(rows));
    tcase_add_loop_test(tests, test_slopes_against_differences, 0, COUNT(rows));
    tcase_add_loop_test(tests, test_literals, 0, COUNT(rows));
    tcase_add_loop_test(tests, test_hard_points, 0, COUNT(hard_points));
    tcase_add_loop_test(tests, test_float, 0, COUNT(rows));
    tcase_add_loop_test(tests, test_nan, 0, COUNT(rows));
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
