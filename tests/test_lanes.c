/*
 * The kernels of the table's rows in vectors, held to the plain ones.
 *
 * The law: on every instruction set that the machine has, value and slopes of a LIGHT row are
 * bitwise those of the plain kernel, and those of a HEAVY row within 4 units in the last place
 * of double (gelu 8), or 1 of float (2 where there is a form in float): all are within 4 of the
 * truth. Where a slope or a value goes through 0 in the middle of its range, the unit is that of 1.
 * The operands are the range of the table, magnitudes from 1e-12 to 1e3 with either sign, and every
 * combination of the points where something changes: ends of domains, knots, limits of
 * exponentials, the largest and the smallest numbers, infinities and NaN.
 *
 * And where an element stands does not matter: every length from 0 to 33 and every alignment gives
 * bitwise what a long array gives, any operand may be one number, and nothing is written past
 * the end. The known figures of the rows, hard points included, hold as they do for scalars.
 */
#include "kernels/elementwise.h"
#include "table_points.h"

#include "run.h"

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))

enum weight { LIGHT, HEAVY };

static const struct row {
    const char *name;
    int arity;
    enum weight weight;
    double range[6];
} rows[NBI_ROWS] = {
#define UNARY(name, w, k, a, b, ...)        [NBI_ROW_##name] = {#name, 1, w, {a, b}},
#define BINARY(name, w, k, a, b, c, d, ...) [NBI_ROW_##name] = {#name, 2, w, {a, b, c, d}},
#define TERNARY(name, w, k, a, b, c, d, e, f, ...) \
    [NBI_ROW_##name] = {#name, 3, w, {a, b, c, d, e, f}},
#define TEST(name, ...) [NBI_ROW_##name] = {#name, 2, LIGHT, {-3, 3, -3, 3}},
#include "table/table.def"
};

/* Bounds in ulp of double other than 4; function 0 is the value, 1 to 3 the slopes. */
static const struct {
    enum nbi_row row;
    int function;
    double ulps;
} bounds[] = {
    {NBI_ROW_gelu, 0, 8},
    {NBI_ROW_gelu, 1, 8},
    {NBI_ROW_gelu_tanh, 1, 8},
    {NBI_ROW_mish, 0, 8}, /* at x near -710, where the exponential is subnormal */
};

static const struct {
    enum nbi_row row;
    int function;
} through_zero[] = {
    {NBI_ROW_xlogx, 1},     {NBI_ROW_logaddexp, 0}, {NBI_ROW_silu, 1}, {NBI_ROW_gelu, 1},
    {NBI_ROW_gelu_tanh, 1}, {NBI_ROW_mish, 1},      {NBI_ROW_celu, 2},
};

static const double edges[] = {
    0,
    0.5,
    1,
    2,
    2.5,
    3,
    6,
    1e-20,
    5e-324,
    1e-310,
    1e-160,
    1e-5,
    1e160,
    1e300,
    DBL_MAX,
    (double)FLT_MAX,
    INF,
    NO,
    20.1,
    40,
    745,
    746,
    709.7,
    710,
    88.7,
    104,
    64,
    37,
    27.2,
    1e9,
    1647099,
    3e6,
    DBL_MIN,
    1e-40,
    0.49999999999999994,
    4503599627370497.5,
    8388609,
    1e17,
};

enum { EDGES = 2 * COUNT(edges), SAMPLES = 1 << 14, PAD = 8 };

/* Arrays of either type. */
typedef union column {
    double d[SAMPLES + 2 * PAD];
    float f[SAMPLES + 2 * PAD];
} column;

static column x[3], r, g, want, got;
static uint64_t state;

static double uniform(double lo, double hi)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return lo + (hi - lo) * ((double)(state >> 11) * 0x1p-53);
}

static void put(nb_dtype t, column *c, int i, double v)
{
    if (t == NB_F64)
        c->d[i] = v;
    else
        c->f[i] = (float)v;
}

static double get(nb_dtype t, const column *c, int i)
{
    return t == NB_F64 ? c->d[i] : (double)c->f[i];
}

static void *at(nb_dtype t, column *c, int i)
{
    return t == NB_F64 ? (void *)(c->d + i) : (void *)(c->f + i);
}

static double edge(int i) { return i % 2 ? -edges[i / 2] : edges[i / 2]; }

/* Operand k of sample i: one third each of the three kinds. The edges of a second and third operand
 * turn so that all pairs, or as many triples as there is room for, are met. */
static double operand(const struct row *row, int k, int i)
{
    const double lo = row->range[2 * k], hi = row->range[2 * k + 1];
    if (lo == hi)
        return lo;
    if (i < EDGES * EDGES) {
        static const int turn[] = {1, EDGES, 7};
        return edge(k < 2 ? i / turn[k] % EDGES : i / turn[k] * 29 % EDGES);
    }
    if (i % 2)
        return uniform(lo, hi);
    const double size = pow(10, uniform(-12, 3));
    return lo < 0 && uniform(0, 1) < 0.5 ? -size : size;
}

static void fill(enum nbi_row row, nb_dtype t)
{
    state = 1;
    for (int i = 0; i < SAMPLES; i++) {
        for (int k = 0; k < rows[row].arity; k++)
            put(t, &x[k], i, operand(&rows[row], k, i));
        put(t, &g, i, 1);
    }
}

/* Function 0 is the value, 1 to 3 the slopes; the adjoint that a slope meets is in g. */
static void run(const nbi_row_kernels *kernels, nb_dtype t, enum nbi_row row, int function,
                int64_t n, int from, const int64_t *step, column *out, int to)
{
    const void *in[3];
    for (int k = 0; k < 3; k++)
        in[k] = at(t, &x[k], from);
    if (function == 0)
        kernels->forward[t][row](n, in, step, at(t, out, to));
    else
        kernels->reverse[t][row][function - 1](n, in, step, at(t, &r, from), at(t, &g, from),
                                               at(t, out, to), false);
}

static bool same(double a, double b)
{
    return isnan(a) ? isnan(b) : a == b && !signbit(a) == !signbit(b);
}

/* |a - b| in units in the last place of b, or of 1 if that is asked for */
static double error(nb_dtype t, double a, double b, bool of_one)
{
    int e;
    if (same(a, b) || a == b)
        return 0;
    if (!isfinite(a) || !isfinite(b))
        return INF;
    frexp(of_one ? fmax(1, fabs(b)) : b, &e);
    const int least = t == NB_F64 ? DBL_MIN_EXP : FLT_MIN_EXP;
    return fabs(a - b) / ldexp(1, (e < least ? least : e) - (t == NB_F64 ? 53 : 24));
}

static double bound_of(nb_dtype t, enum nbi_row row, int function)
{
    if (rows[row].weight == LIGHT)
        return 0;
    const bool squashing = row == NBI_ROW_tanh || row == NBI_ROW_sigmoid;
    if (t == NB_F32) /* 2 where it runs in float, 1 where it is rounded from double */
        return squashing || (row == NBI_ROW_exp && function == 0) ? 2 : 1;
    for (int i = 0; i < COUNT(bounds); i++)
        if (bounds[i].row == row && bounds[i].function == function)
            return bounds[i].ulps;
    return 4;
}

static bool goes_through_zero(enum nbi_row row, int function)
{
    for (int i = 0; i < COUNT(through_zero); i++)
        if (through_zero[i].row == row && through_zero[i].function == function)
            return true;
    return false;
}

static void check_against_plain(nbi_isa isa, nb_dtype t, enum nbi_row row, int function)
{
    const int64_t step[3] = {1, 1, 1};
    const double bound = bound_of(t, row, function);
    const bool of_one = goes_through_zero(row, function);
    run(&nbi_row_kernels_plain, t, row, function, SAMPLES, 0, step, &want, 0);
    run(nbi_row_kernels_choose(isa), t, row, function, SAMPLES, 0, step, &got, 0);
    for (int i = 0; i < SAMPLES; i++) {
        const double a = get(t, &got, i), b = get(t, &want, i);
        const bool right = bound == 0 ? same(a, b) : error(t, a, b, of_one) <= bound;
        if (!right)
            ck_abort_msg("%s, %s, %s, function %d at (%.17g, %.17g, %.17g): %.17g for %.17g",
                         nbi_isa_name(isa), rows[row].name, t == NB_F64 ? "double" : "float",
                         function, get(t, &x[0], i), get(t, &x[1], i), get(t, &x[2], i), a, b);
    }
    if (function == 0)
        memcpy(&r, &want, sizeof r);
}

static bool has(enum nbi_row row, int function)
{
    return function == 0 || nbi_row_kernels_plain.reverse[NB_F64][row][function - 1];
}

START_TEST(test_agreement)
{
    const enum nbi_row row = (enum nbi_row)_i;
    for (int isa = 1; isa < NBI_ISA_COUNT; isa++)
        for (int t = 0; t < 2 && nbi_isa_available((nbi_isa)isa); t++) {
            fill(row, (nb_dtype)t);
            for (int f = 0; f <= rows[row].arity && has(row, f); f++)
                check_against_plain((nbi_isa)isa, (nb_dtype)t, row, f);
        }
}
END_TEST

/* n elements from x[from] on, to got[to] on, are those of `want`, and its neighbours untouched. */
static void check_piece(const nbi_row_kernels *kernels, nb_dtype t, enum nbi_row row, int function,
                        int n, int from, int to)
{
    const int64_t step[3] = {1, 1, 1};
    for (int i = 0; i < n + to + PAD; i++)
        put(t, &got, i, 123);
    run(kernels, t, row, function, n, from, step, &got, to);
    for (int i = 0; i < n + to + PAD; i++) {
        const bool inside = i >= to && i < to + n;
        const double b = inside ? get(t, &want, from + i - to) : 123;
        if (!same(get(t, &got, i), b))
            ck_abort_msg("%s, function %d: element %d of %d, from %d to %d", rows[row].name,
                         function, i - to, n, from, to);
    }
}

/* Every set of steps gives what the operands written out give. */
static void check_steps(const nbi_row_kernels *kernels, nb_dtype t, enum nbi_row row, int function)
{
    enum { N = 35, FROM = EDGES * EDGES };
    const int64_t ones[3] = {1, 1, 1};
    double full[3][N];
    for (int k = 0; k < 3; k++)
        for (int i = 0; i < N; i++)
            full[k][i] = get(t, &x[k], FROM + i);
    for (int set = 0; set < 1 << rows[row].arity && rows[row].arity > 1; set++) {
        int64_t step[3];
        for (int k = 0; k < 3; k++) {
            step[k] = set >> k & 1;
            for (int i = 0; i < N; i++)
                put(t, &x[k], FROM + i, full[k][step[k] ? i : 0]);
        }
        run(kernels, t, row, function, N, FROM, ones, &want, 0);
        for (int k = 0; k < 3; k++)
            for (int i = 1; i < N && !step[k]; i++)
                put(t, &x[k], FROM + i, NO);
        run(kernels, t, row, function, N, FROM, step, &got, 0);
        for (int i = 0; i < N; i++)
            if (!same(get(t, &got, i), get(t, &want, i)))
                ck_abort_msg("%s, function %d, steps %d: %d", rows[row].name, function, set, i);
    }
    for (int k = 0; k < 3; k++)
        for (int i = 0; i < N; i++)
            put(t, &x[k], FROM + i, full[k][i]);
}

START_TEST(test_place)
{
    const enum nbi_row row = (enum nbi_row)_i;
    const int64_t step[3] = {1, 1, 1};
    for (int isa = 0; isa < NBI_ISA_COUNT; isa++)
        for (int t = 0; t < 2 && nbi_isa_available((nbi_isa)isa); t++) {
            const nbi_row_kernels *kernels = nbi_row_kernels_choose((nbi_isa)isa);
            fill(row, (nb_dtype)t);
            run(kernels, (nb_dtype)t, row, 0, SAMPLES, 0, step, &r, 0);
            for (int f = 0; f <= rows[row].arity && has(row, f); f++) {
                run(kernels, (nb_dtype)t, row, f, SAMPLES, 0, step, &want, 0);
                for (int n = 0; n <= 33; n++)
                    check_piece(kernels, (nb_dtype)t, row, f, n, EDGES * EDGES + n % 5, n % 3);
                check_piece(kernels, (nb_dtype)t, row, f, 201, 1, 3);
                check_steps(kernels, (nb_dtype)t, row, f);
            }
        }
}
END_TEST

/* to (+)= g * slope, rounded twice, and 0 for g = 0 whatever the slope. */
START_TEST(test_chain)
{
    enum { N = 27 };
    const int64_t step[3] = {1, 1, 1};
    const enum nbi_row row = NBI_ROW_log;
    for (int isa = 0; isa < NBI_ISA_COUNT; isa++)
        for (int t = 0; t < 2 && nbi_isa_available((nbi_isa)isa); t++)
            for (int add = 0; add < 2; add++) {
                const void *in[1] = {at((nb_dtype)t, &x[0], 0)};
                const nbi_row_kernels *kernels = nbi_row_kernels_choose((nbi_isa)isa);
                for (int i = 0; i < N; i++) {
                    put((nb_dtype)t, &x[0], i, i % 3 ? 0.5 * i : i % 2 ? 0 : NO);
                    put((nb_dtype)t, &g, i, i % 3 == 0 ? (i % 4 ? 0 : -0.0) : i - 9.5);
                    put((nb_dtype)t, &got, i, 0.25 * i);
                }
                kernels->reverse[t][row][0](N, in, step, at((nb_dtype)t, &r, 0),
                                            at((nb_dtype)t, &g, 0), at((nb_dtype)t, &got, 0), add);
                for (int i = 0; i < N; i++) {
                    const double slope = 1 / (0.5 * i), old = add ? 0.25 * i : 0;
                    const double d = i % 3 ? old + (i - 9.5) * slope : old;
                    const float s = (float)slope, f = i % 3 ? ((float)i - 9.5F) * s : 0;
                    ck_assert(same(get((nb_dtype)t, &got, i),
                                   t == NB_F64 ? d : (double)((float)old + f)));
                }
            }
}
END_TEST

static enum nbi_row row_named(const char *name)
{
    for (int i = 0; i < NBI_ROWS; i++)
        if (strcmp(rows[i].name, name) == 0)
            return (enum nbi_row)i;
    ck_abort_msg("no row %s", name);
    return NBI_ROWS;
}

/* Infinities, zeros and NaN exactly; figures within twice the bound: from the plain kernel, and of
 * that from the truth. The tanh form of gelu has its own rounding of the exponent. */
static void check_point(nbi_isa isa, const struct point *p)
{
    const enum nbi_row row = row_named(p->name);
    const int64_t step[3] = {1, 1, 1};
    for (int k = 0; k < 3; k++)
        put(NB_F64, &x[k], 0, p->at[k]);
    put(NB_F64, &g, 0, 1);
    for (int f = 0; f <= rows[row].arity && has(row, f); f++) {
        run(nbi_row_kernels_choose(isa), NB_F64, row, f, 1, 0, step, f ? &got : &r, 0);
        const double a = get(NB_F64, f ? &got : &r, 0), b = p->value[f];
        const double bound = row == NBI_ROW_gelu_tanh ? 104 : 8;
        const bool exact = b == 0 || !isfinite(b);
        const bool right = exact ? (f ? a == b || same(a, b) : same(a, b))
                                 : error(NB_F64, a, b, goes_through_zero(row, f)) <= bound;
        ck_assert_msg(b == ANY || right,
                      "%s, %s, function %d at (%.17g, %.17g, %.17g): %.17g for %.17g",
                      nbi_isa_name(isa), p->name, f, p->at[0], p->at[1], p->at[2], a, b);
    }
}

START_TEST(test_points)
{
    if (!nbi_isa_available((nbi_isa)_i))
        return;
    for (int i = 0; i < COUNT(literals); i++)
        check_point((nbi_isa)_i, &literals[i]);
    for (int i = 0; i < COUNT(hard_points); i++)
        check_point((nbi_isa)_i, &hard_points[i]);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("lanes");
    TCase *rows_case = tcase_create("rows");
    tcase_set_timeout(rows_case, 60);
    tcase_add_loop_test(rows_case, test_agreement, 0, NBI_ROWS);
    tcase_add_loop_test(rows_case, test_place, 0, NBI_ROWS);
    tcase_add_test(rows_case, test_chain);
    tcase_add_loop_test(rows_case, test_points, 0, NBI_ISA_COUNT);
    suite_add_tcase(suite, rows_case);
    return run_suite(suite);
}
