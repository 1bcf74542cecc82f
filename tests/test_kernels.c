/* The bare-array kernels against slow, obvious references.
 *
 * The matrix product is held to a triple loop in long double. Its error bound is the
 * textbook one for any order of summation, |computed - exact| <= (k + 2) u sum |a||b|,
 * with u the unit roundoff, so it is tight for small k and still catches a single
 * misplaced element: operands are random and every one of them matters.
 *
 * Each matrix sits between guard bytes, its padding columns (a leading dimension
 * larger than the width) count as guards too, and the guards must survive. Operands
 * outside the matrix are NaN, so that reading them poisons a result. Vector functions
 * are held to the long double library, in units of the last place of the exact result. */
#include "kernels/cpu.h"
#include "kernels/matmul.h"
#include "kernels/vmath.h"

#include "run.h"

#include <float.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

static uint64_t seed = 1;

static double uniform(void)
{
    seed = seed * 6364136223846793005U + 1442695040888963407U;
    return (double)(seed >> 11) / 9007199254740992.0 * 2 - 1;
}

typedef struct {
    bool is_double;
    int64_t rows, cols, ld;
    size_t bytes;
    void *raw; /* guard, matrix, guard */
    void *data;
} matrix;

enum { GUARD = 128, GUARD_BYTE = 0xff }; /* all ones is a NaN in both types */

static double get(const matrix *x, int64_t i, int64_t j)
{
    int64_t at = i * x->ld + j;
    return x->is_double ? ((double *)x->data)[at] : (double)((float *)x->data)[at];
}

static void set(matrix *x, int64_t i, int64_t j, double v)
{
    int64_t at = i * x->ld + j;
    if (x->is_double)
        ((double *)x->data)[at] = v;
    else
        ((float *)x->data)[at] = (float)v;
}

static matrix matrix_new(bool is_double, int64_t rows, int64_t cols, int64_t pad)
{
    matrix x = {.is_double = is_double, .rows = rows, .cols = cols, .ld = cols + pad};
    x.bytes = (size_t)(rows * x.ld) * (is_double ? sizeof(double) : sizeof(float));
    x.raw = malloc(x.bytes + 2 * GUARD);
    ck_assert_ptr_nonnull(x.raw);
    memset(x.raw, GUARD_BYTE, x.bytes + 2 * GUARD);
    x.data = (char *)x.raw + GUARD;
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols; j++)
            set(&x, i, j, uniform());
    return x;
}

static void check_guards(const matrix *x)
{
    const unsigned char *raw = x->raw;
    int64_t touched = 0;
    for (size_t i = 0; i < GUARD; i++)
        touched += (raw[i] != GUARD_BYTE) + (raw[GUARD + x->bytes + i] != GUARD_BYTE);
    for (int64_t i = 0; i < x->rows; i++)
        for (int64_t j = x->cols; j < x->ld; j++)
            touched += !isnan(get(x, i, j));
    ck_assert_int_eq(touched, 0);
}

typedef struct {
    int64_t m, n, k, pad;
    bool ta, tb, accumulate, bias;
} form;

static void check_product(nbi_isa isa, bool is_double, form f)
{
    matrix a =
        f.ta ? matrix_new(is_double, f.k, f.m, f.pad) : matrix_new(is_double, f.m, f.k, f.pad);
    matrix b =
        f.tb ? matrix_new(is_double, f.n, f.k, f.pad) : matrix_new(is_double, f.k, f.n, f.pad);
    matrix c = matrix_new(is_double, f.m, f.n, f.pad), bias = matrix_new(is_double, 1, f.n, 0);
    matrix old = matrix_new(is_double, f.m, f.n, f.pad);
    memcpy(old.data, c.data, c.bytes);
    size_t bytes = nbi_matmul_scratch(isa, is_double, f.m, f.n, f.k);
    unsigned char *scratch = bytes ? aligned_alloc(64, (bytes + 63) / 64 * 64 + 64) : NULL;
    if (scratch)
        memset(scratch, GUARD_BYTE, (bytes + 63) / 64 * 64 + 64);

    nbi_matmul x = {.m = f.m,
                    .n = f.n,
                    .k = f.k,
                    .a = a.data,
                    .b = b.data,
                    .c = c.data,
                    .lda = a.ld,
                    .ldb = b.ld,
                    .ldc = c.ld,
                    .ta = f.ta,
                    .tb = f.tb,
                    .accumulate = f.accumulate,
                    .bias = f.bias ? bias.data : NULL,
                    .scratch = scratch};
    nbi_matmul_choose(isa, is_double)(&x);

    const double unit = is_double ? DBL_EPSILON / 2 : (double)FLT_EPSILON / 2;
    for (int64_t i = 0; i < f.m; i++)
        for (int64_t j = 0; j < f.n; j++) {
            long double sum = 0, size = 0;
            if (f.bias)
                sum += (long double)get(&bias, 0, j);
            size += fabsl(sum);
            if (f.accumulate)
                sum += (long double)get(&old, i, j);
            if (f.accumulate)
                size += fabsl((long double)get(&old, i, j));
            for (int64_t p = 0; p < f.k; p++) {
                long double t = (long double)(f.ta ? get(&a, p, i) : get(&a, i, p)) *
                                (long double)(f.tb ? get(&b, j, p) : get(&b, p, j));
                sum += t, size += fabsl(t);
            }
            long double bound = (long double)(f.k + 2) * (long double)unit * size;
            if (!(fabsl((long double)get(&c, i, j) - sum) <= bound))
                ck_abort_msg("%s %s %ldx%ldx%ld ta %d tb %d add %d bias %d pad %ld: c[%ld][%ld] = "
                             "%.17g, exact %.17Lg",
                             nbi_isa_name(isa), is_double ? "f64" : "f32", (long)f.m, (long)f.n,
                             (long)f.k, f.ta, f.tb, f.accumulate, f.bias, (long)f.pad, (long)i,
                             (long)j, get(&c, i, j), sum);
        }
    check_guards(&c);
    size_t past = 0;
    for (size_t i = 0; scratch && i < 64; i++)
        past += scratch[(bytes + 63) / 64 * 64 + i] != GUARD_BYTE;
    ck_assert_uint_eq(past, 0);
    free(scratch);
    free(a.raw), free(b.raw), free(c.raw), free(bias.raw), free(old.raw);
}

static void check_all_forms(nbi_isa isa, int64_t m, int64_t n, int64_t k, bool thorough)
{
    for (int bits = 0; bits < 32; bits++) {
        form f = {m, n, k, bits & 16 ? 3 : 0, bits & 1, bits & 2, bits & 4, bits & 8};
        if (!thorough && (bits >> 2) != 0 && (bits >> 2) != 7)
            continue;
        check_product(isa, false, f);
        check_product(isa, true, f);
    }
}

START_TEST(matmul_small_shapes)
{
    static const int64_t sizes[] = {0, 1, 2, 3, 4, 5, 8, 9, 16, 17, 33};
    enum { N = sizeof sizes / sizeof *sizes };
    nbi_isa isa = (nbi_isa)_i;
    if (!nbi_isa_available(isa))
        return;
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++)
            for (int p = 0; p < N; p++)
                check_all_forms(isa, sizes[i], sizes[j], sizes[p], true);
}
END_TEST

START_TEST(matmul_odd_and_large_shapes)
{
    static const int64_t shapes[][3] = {
        {64, 64, 64},  {65, 63, 67},  {1, 784, 128}, {1, 129, 1000}, {130, 1, 700}, {3, 131, 515},
        {131, 3, 515}, {2, 300, 257}, {2, 3, 2000},  {3, 2, 2000},   {97, 10, 128}, {32, 10, 300},
        {10, 97, 300}, {40, 1100, 5}, {1100, 40, 5}, {70, 510, 259}, {16, 200, 64}, {200, 16, 513},
        {7, 145, 256}, {9, 500, 257}, {500, 9, 1},   {300, 50, 0},   {33, 49, 513}, {1, 1, 5000},
    };
    nbi_isa isa = (nbi_isa)_i;
    if (!nbi_isa_available(isa))
        return;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        check_all_forms(isa, shapes[i][0], shapes[i][1], shapes[i][2], false);
}
END_TEST

/* Rows and columns computed in pieces are bitwise those computed at once. */
static void check_pieces(nbi_isa isa, form f, int64_t step_m, int64_t step_n)
{
    matrix a = f.ta ? matrix_new(false, f.k, f.m, 0) : matrix_new(false, f.m, f.k, 0);
    matrix b = f.tb ? matrix_new(false, f.n, f.k, 0) : matrix_new(false, f.k, f.n, 0);
    matrix whole = matrix_new(false, f.m, f.n, 0), pieces = matrix_new(false, f.m, f.n, 0);
    size_t bytes = nbi_matmul_scratch(isa, false, f.m, f.n, f.k);
    void *scratch = bytes ? aligned_alloc(64, (bytes + 63) / 64 * 64) : NULL;
    nbi_matmul x = {.m = f.m,
                    .n = f.n,
                    .k = f.k,
                    .a = a.data,
                    .b = b.data,
                    .c = whole.data,
                    .lda = a.ld,
                    .ldb = b.ld,
                    .ldc = f.n,
                    .ta = f.ta,
                    .tb = f.tb,
                    .scratch = scratch};
    nbi_matmul_choose(isa, false)(&x);
    for (int64_t i = 0; i < f.m; i += step_m)
        for (int64_t j = 0; j < f.n; j += step_n) {
            x.m = i + step_m < f.m ? step_m : f.m - i;
            x.n = j + step_n < f.n ? step_n : f.n - j;
            x.a = (float *)a.data + (f.ta ? i : i * a.ld);
            x.b = (float *)b.data + (f.tb ? j * b.ld : j);
            x.c = (float *)pieces.data + i * f.n + j;
            nbi_matmul_choose(isa, false)(&x);
        }
    ck_assert_mem_eq(whole.data, pieces.data, whole.bytes);
    free(scratch), free(a.raw), free(b.raw), free(whole.raw), free(pieces.raw);
}

START_TEST(matmul_pieces_are_bitwise_the_whole)
{
    static const int64_t shapes[][5] = {
        {64, 96, 300, 8, 96}, {64, 96, 300, 64, 48},  {4, 200, 700, 4, 50},
        {200, 4, 700, 25, 4}, {300, 12, 90, 100, 12}, {12, 300, 1000, 4, 75},
        {1, 64, 600, 1, 16},  {90, 600, 520, 9, 100},
    };
    nbi_isa isa = (nbi_isa)_i;
    if (!nbi_isa_available(isa))
        return;
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
        for (int t = 0; t < 4; t++) {
            const int64_t *z = shapes[s];
            check_pieces(isa, (form){.m = z[0], .n = z[1], .k = z[2], .ta = t & 1, .tb = t & 2},
                         z[3], z[4]);
        }
}
END_TEST

START_TEST(isa_names_only_lower)
{
    ck_assert_int_eq(nbi_isa_lower(NBI_ISA_AVX512, "avx2"), NBI_ISA_AVX2);
    ck_assert_int_eq(nbi_isa_lower(NBI_ISA_AVX512, "avx512"), NBI_ISA_AVX512);
    ck_assert_int_eq(nbi_isa_lower(NBI_ISA_AVX2, "avx512"), NBI_ISA_AVX2);
    ck_assert_int_eq(nbi_isa_lower(NBI_ISA_AVX2, "neon"), NBI_ISA_AVX2);
    ck_assert_int_eq(nbi_isa_lower(NBI_ISA_NEON, "plain"), NBI_ISA_PLAIN);
    ck_assert_int_eq(nbi_isa_lower(NBI_ISA_NEON, "avx2"), NBI_ISA_NEON);
    ck_assert_int_eq(nbi_isa_lower(NBI_ISA_AVX2, NULL), NBI_ISA_AVX2);
    ck_assert_int_eq(nbi_isa_lower(NBI_ISA_AVX2, ""), NBI_ISA_AVX2);
    ck_assert_int_eq(nbi_isa_lower(NBI_ISA_AVX2, "sse"), NBI_ISA_AVX2);
    ck_assert(nbi_isa_available(NBI_ISA_PLAIN) && nbi_isa_available(nbi_isa_best()));
}
END_TEST

START_TEST(matmul_scratch_is_bounded)
{
    for (int isa = 0; isa < NBI_ISA_COUNT; isa++)
        for (int is_double = 0; is_double < 2; is_double++) {
            ck_assert_uint_eq(nbi_matmul_scratch((nbi_isa)isa, is_double, 8, 8, 8), 0);
            ck_assert_uint_eq(nbi_matmul_scratch((nbi_isa)isa, is_double, 0, 0, 0), 0);
            size_t most =
                nbi_matmul_scratch((nbi_isa)isa, is_double, INT64_MAX, INT64_MAX, INT64_MAX);
            ck_assert(most > 0 && most < 2U << 20);
        }
}
END_TEST

/* ---- elementary functions -------------------------------------------------------------------- */

static long double sigmoid_exact(long double x)
{
    long double e = expl(-fabsl(x));
    return (x >= 0 ? 1 : e) / (1 + e);
}

/* Reducing a huge argument takes more digits than a long double library may spend; the
 * double library's reduction is exact. */
static long double sin_exact(long double x)
{
    return fabsl(x) > 1e15L ? (long double)sin((double)x) : sinl(x);
}

static long double cos_exact(long double x)
{
    return fabsl(x) > 1e15L ? (long double)cos((double)x) : cosl(x);
}

static const struct {
    const char *name;
    size_t at; /* of the member in nbi_vmath */
    long double (*exact)(long double);
} functions[] = {
    {"exp", offsetof(nbi_vmath, exp), expl},
    {"expm1", offsetof(nbi_vmath, expm1), expm1l},
    {"log", offsetof(nbi_vmath, log), logl},
    {"log1p", offsetof(nbi_vmath, log1p), log1pl},
    {"tanh", offsetof(nbi_vmath, tanh), tanhl},
    {"sin", offsetof(nbi_vmath, sin), sin_exact},
    {"cos", offsetof(nbi_vmath, cos), cos_exact},
    {"erf", offsetof(nbi_vmath, erf), erfl},
    {"sigmoid", offsetof(nbi_vmath, sigmoid), sigmoid_exact},
};
enum { FUNCTIONS = sizeof functions / sizeof *functions, DENSE = 60000 };

static nbi_vmath_fn function_of(nbi_isa isa, bool is_double, int f)
{
    nbi_vmath_fn fn;
    memcpy(&fn, (const char *)nbi_vmath_choose(isa, is_double) + functions[f].at, sizeof fn);
    return fn;
}

/* Distance to the exact result in units of its last place; 0 where both are the same
 * infinity or both NaN. */
static double units(bool is_double, double got, long double exact)
{
    const int digits = is_double ? 53 : 24, lowest = is_double ? -1021 : -125;
    if (isnan(exact))
        return isnan(got) ? 0 : HUGE_VAL;
    if (is_double ? got == (double)exact : got == (double)(float)exact)
        return 0;
    int e;
    frexpl(exact, &e);
    long double unit = ldexpl(1, (e < lowest ? lowest : e) - digits);
    return (double)(fabsl((long double)got - exact) / unit);
}

/* Sample i: bit patterns spread over the whole type, then the intervals where the
 * functions bend, then special values. */
static double sample(bool is_double, int i)
{
    static const double special[] = {0.0,
                                     -0.0,
                                     HUGE_VAL,
                                     -HUGE_VAL,
                                     (double)NAN,
                                     1,
                                     -1,
                                     0x1p-1074,
                                     -0x1p-1074,
                                     0x1p-149,
                                     -0x1p-149,
                                     0x1p-1022,
                                     0x1p-126,
                                     1e300,
                                     -1e300,
                                     1e30,
                                     1.5707963267948966,
                                     3.1415926535897931,
                                     6381956970095103.0 * 0x1p797,
                                     709.78271289338397,
                                     709.782712893384,
                                     -745.13321910194111,
                                     -745.2,
                                     88.7228390,
                                     88.7228394,
                                     -103.97,
                                     -104.0,
                                     0.5,
                                     22,
                                     9.01,
                                     6,
                                     5.92,
                                     DBL_MAX,
                                     -DBL_MAX,
                                     3.4028234e38,
                                     1048576.0 * 1.5,
                                     1048577.0 * 1.5,
                                     0.99999999999999989};
    const int specials = sizeof special / sizeof *special;
    if (i < specials)
        return special[i];
    const double u = uniform();
    switch (i % 6) {
    case 0: return 2 * u;
    case 1: return 40 * u;
    case 2: return (is_double ? 750 : 105) * u;
    case 3: return 1 + 0.5 * u;
    case 4: return ldexp(u, (int)(uniform() * 60) - 40);
    default: return ldexp(u, (int)(uniform() * (is_double ? 1070 : 148)));
    }
}

static void check_units(nbi_isa isa, bool is_double, int f)
{
    static double x[DENSE], y[DENSE];
    static float xf[DENSE], yf[DENSE];
    seed = 1;
    for (int i = 0; i < DENSE; i++)
        x[i] = sample(is_double, i), xf[i] = (float)x[i];
    function_of(isa, is_double, f)(DENSE, is_double ? (void *)x : xf, is_double ? (void *)y : yf);
    double worst = 0, worst_x = 0;
    for (int i = 0; i < DENSE; i++) {
        const double at = is_double ? x[i] : (double)xf[i], got = is_double ? y[i] : (double)yf[i];
        const long double exact = functions[f].exact((long double)at);
        const double error = units(is_double, got, exact);
        if (!(error <= worst))
            worst = error, worst_x = at;
        if (exact == 0 && !signbit(got) != !signbit(exact))
            worst = HUGE_VAL, worst_x = at;
    }
    ck_assert_msg(worst <= (is_double ? 4 : 2), "%s %s %s: %g units at %.17g", nbi_isa_name(isa),
                  is_double ? "f64" : "f32", functions[f].name, worst, worst_x);
}

START_TEST(vmath_is_within_its_bounds)
{
    for (int isa = 0; isa < NBI_ISA_COUNT; isa++)
        if (nbi_isa_available((nbi_isa)isa)) {
            check_units((nbi_isa)isa, false, _i);
            check_units((nbi_isa)isa, true, _i);
        }
}
END_TEST

/* Every length and offset, in place: the same bits as from a long array, nothing beyond. */
static void check_ends(nbi_isa isa, bool is_double, int f)
{
    enum { LONG = 300, MOST = 40 };
    const nbi_vmath_fn fn = function_of(isa, is_double, f);
    matrix x = matrix_new(is_double, 1, LONG, 0), y = matrix_new(is_double, 1, LONG, 0);
    const size_t size = is_double ? sizeof(double) : sizeof(float);
    for (int i = 0; i < LONG; i++)
        set(&x, 0, i, sample(is_double, i));
    fn(LONG, x.data, y.data);
    for (int start = 0; start < LONG - MOST; start += 7)
        for (int n = 0; n <= MOST; n++) {
            matrix z = matrix_new(is_double, 1, n, 0);
            memcpy(z.data, (char *)x.data + (size_t)start * size, (size_t)n * size);
            fn(n, z.data, z.data);
            if (memcmp(z.data, (char *)y.data + (size_t)start * size, (size_t)n * size) != 0)
                ck_abort_msg("%s %s: %d elements from %d on differ", nbi_isa_name(isa),
                             functions[f].name, n, start);
            check_guards(&z);
            free(z.raw);
        }
    free(x.raw), free(y.raw);
}

START_TEST(vmath_place_in_array_does_not_matter)
{
    for (int isa = 0; isa < NBI_ISA_COUNT; isa++)
        if (nbi_isa_available((nbi_isa)isa)) {
            check_ends((nbi_isa)isa, false, _i);
            check_ends((nbi_isa)isa, true, _i);
        }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("kernels");
    TCase *products = tcase_create("matmul");
    tcase_set_timeout(products, 120);
    tcase_add_test(products, isa_names_only_lower);
    tcase_add_test(products, matmul_scratch_is_bounded);
    tcase_add_loop_test(products, matmul_small_shapes, 0, NBI_ISA_COUNT);
    tcase_add_loop_test(products, matmul_odd_and_large_shapes, 0, NBI_ISA_COUNT);
    tcase_add_loop_test(products, matmul_pieces_are_bitwise_the_whole, 0, NBI_ISA_COUNT);
    suite_add_tcase(suite, products);
    TCase *elementary = tcase_create("vmath");
    tcase_set_timeout(elementary, 60);
    tcase_add_loop_test(elementary, vmath_is_within_its_bounds, 0, FUNCTIONS);
    tcase_add_loop_test(elementary, vmath_place_in_array_does_not_matter, 0, FUNCTIONS);
    suite_add_tcase(suite, elementary);
    return run_suite(suite);
}
