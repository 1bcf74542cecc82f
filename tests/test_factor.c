/*
 * The factorisations on bare arrays, against their definitions.
 *
 * A factorisation is right if the product of its factors gives the matrix back: with P A, L U and
 * |L| |U| taken by plain loops, every element must agree within (n + 2) u (|L| |U|), the bound of
 * the textbooks for any order of the sums, u being the unit of rounding; and once more that for the
 * rounding of the plain loop. A solution of a triangular system is right if it solves the system as
 * exactly as that: |T X - B| <= (n + 2) u |T| |X|. So no other factorisation is needed to compare
 * with, and the tolerances are theorems.
 *
 * What must not be read is NaN, and what must not be written is NaN afterwards: the other triangle,
 * a unit diagonal, the padding between rows. Every instruction set that the machine has is run.
 */
#include "kernels/factor.h"

#include "run.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 140, PAD = 3, LD = MOST + PAD };

static const int64_t orders[] = {1, 2, 3, 5, 8, 15, 16, 17, 31, 32, 33, 47, 64, 65, 96, 128, 139};
enum { ORDERS = sizeof orders / sizeof *orders };
static const int64_t widths[] = {1, 2, 3, 4, 5, 17, 40, 139};
enum { WIDTHS = sizeof widths / sizeof *widths };

static double original[MOST * LD], matrix[MOST * LD], right[MOST * LD], unknown[MOST * LD];
static int64_t exchange[MOST];
static uint64_t seed = 1;

static double uniform(void)
{
    seed = seed * 6364136223846793005U + 1442695040888963407U;
    return (double)(seed >> 11) / 9007199254740992.0 * 2 - 1;
}

static void clear(double *x)
{
    for (int64_t i = 0; i < MOST * LD; i++)
        x[i] = (double)NAN;
}

static void fill(double *x, int64_t rows, int64_t columns)
{
    clear(x);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j++)
            x[i * LD + j] = uniform();
}

/* Whether the padding of [rows columns] is still NaN. */
static bool untouched(const double *x, int64_t rows, int64_t columns)
{
    for (int64_t i = 0; i < MOST; i++)
        for (int64_t j = i < rows ? columns : 0; j < LD; j++)
            if (!isnan(x[i * LD + j]))
                return false;
    return true;
}

static nbi_isa isa_now;
static void *memory;

static nbi_factor work(int64_t n, int64_t m)
{
    const size_t bytes = nbi_factor_bytes(isa_now, n, m);
    free(memory);
    memory = bytes ? aligned_alloc(64, (bytes + 63) / 64 * 64) : NULL;
    return nbi_factor_with(isa_now, nbi_matmul_choose(isa_now, true), memory, n, m);
}

static void on_every_isa(void (*f)(void))
{
    for (int i = 0; i < NBI_ISA_COUNT; i++)
        if (nbi_isa_available((nbi_isa)i)) {
            isa_now = (nbi_isa)i;
            f();
        }
    free(memory);
    memory = NULL;
}

/* Once for the rounding of what is tested, once for that of the test. */
static bool within(double difference, double scale, int64_t n)
{
    return fabs(difference) <= (double)(n + 2) * DBL_EPSILON * scale;
}

/* ---- LU -------------------------------------------------------------------------------------- */

static double lower_at(int64_t i, int64_t k) { return i == k ? 1 : matrix[i * LD + k]; }

/* What is wrong with L, U and the exchanges of original [n n], or NULL. */
static const char *lu_flaw(int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        if (exchange[i] < i || exchange[i] >= n)
            return "an exchange is out of range";
        for (int64_t j = 0; j < n; j++) {
            double v = original[i * LD + j];
            original[i * LD + j] = original[exchange[i] * LD + j];
            original[exchange[i] * LD + j] = v;
        }
    }
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++) {
            double sum = 0, scale = 0;
            for (int64_t k = 0; k <= i && k <= j; k++) {
                sum += lower_at(i, k) * matrix[k * LD + j];
                scale += fabs(lower_at(i, k) * matrix[k * LD + j]);
            }
            if (j < i && fabs(lower_at(i, j)) > 1)
                return "a multiplier is above 1";
            if (!within(original[i * LD + j] - sum, scale, n))
                return "P A is not L U";
        }
    return NULL;
}

static void lu_everywhere(void)
{
    for (int i = 0; i < ORDERS; i++) {
        const int64_t n = orders[i];
        nbi_factor f = work(n, 1);
        fill(original, n, n);
        memcpy(matrix, original, sizeof matrix);
        int64_t done = nbi_lu(&f, n, matrix, LD, exchange);
        const char *flaw = done < n ? "no pivot" : lu_flaw(n);
        ck_assert_msg(!flaw, "%s, n = %d: %s", nbi_isa_name(isa_now), (int)n, flaw);
        ck_assert(untouched(matrix, n, n));
    }
}

START_TEST(lu_gives_the_matrix_back) { on_every_isa(lu_everywhere); }
END_TEST

/* A column of zeros has no pivot when its turn comes, and nothing before it minds. */
static void singular_everywhere(void)
{
    for (int64_t n = 1; n <= 70; n += 23)
        for (int64_t zero = 0; zero < n; zero++) {
            nbi_factor f = work(n, 1);
            fill(matrix, n, n);
            for (int64_t i = 0; i < n; i++)
                matrix[i * LD + zero] = 0;
            ck_assert_int_eq(nbi_lu(&f, n, matrix, LD, exchange), zero);
            ck_assert(matrix[zero * LD + zero] == 0);
        }
}

START_TEST(lu_finds_the_column_without_pivot) { on_every_isa(singular_everywhere); }
END_TEST

/* ---- triangular systems ---------------------------------------------------------------------- */

/* Element (i, j) of the system's matrix. */
static double system_at(const nbi_triangle *t, int64_t i, int64_t j)
{
    const int64_t row = t->transposed ? j : i, column = t->transposed ? i : j;
    if (row == column)
        return t->unit ? 1 : t->data[row * t->ld + row];
    return (row > column) == t->lower ? t->data[row * t->ld + column] : 0;
}

static bool solves(const nbi_triangle *t, int64_t m)
{
    for (int64_t i = 0; i < t->n; i++)
        for (int64_t j = 0; j < m; j++) {
            double sum = 0, scale = 0;
            for (int64_t k = 0; k < t->n; k++) {
                sum += system_at(t, i, k) * unknown[k * LD + j];
                scale += fabs(system_at(t, i, k) * unknown[k * LD + j]);
            }
            if (!within(right[i * LD + j] - sum, scale, t->n))
                return false;
        }
    return true;
}

/* Elements off the diagonal of at most 1/n, so that solutions stay of the size of B. */
static nbi_triangle triangle(int64_t n, int flags)
{
    nbi_triangle t = {matrix, n, LD, flags & 1, flags & 2, flags & 4};
    clear(matrix);
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++) {
            if (i != j && (i > j) == t.lower)
                matrix[i * LD + j] = uniform() / (double)n;
            else if (i == j && !t.unit)
                matrix[i * LD + j] = 1 + uniform() / 2;
        }
    return t;
}

static void triangles_everywhere(void)
{
    for (int i = 0; i < ORDERS; i++)
        for (int w = 0; w < WIDTHS; w++)
            for (int flags = 0; flags < 8; flags++) {
                const int64_t n = orders[i], m = widths[w];
                if (n * m > 6000 && (flags & 4))
                    continue;
                nbi_factor f = work(n, m);
                nbi_triangle t = triangle(n, flags);
                fill(right, n, m);
                memcpy(unknown, right, sizeof unknown);
                nbi_triangle_solve(&f, &t, m, unknown, LD);
                bool right_answer = solves(&t, m) && untouched(unknown, n, m);
                ck_assert_msg(right_answer, "%s, n = %d, m = %d, flags %d", nbi_isa_name(isa_now),
                              (int)n, (int)m, flags);
            }
}

START_TEST(triangular_systems) { on_every_isa(triangles_everywhere); }
END_TEST

/* ---- systems by LU --------------------------------------------------------------------------- */

static void solve_everywhere(void)
{
    for (int i = 0; i < ORDERS; i++)
        for (int w = 0; w < WIDTHS; w++)
            for (int transposed = 0; transposed < 2; transposed++) {
                const int64_t n = orders[i], m = widths[w];
                nbi_factor f = work(n, m);
                fill(original, n, n);
                for (int64_t k = 0; k < n; k++) /* the greatest elements: rows will move */
                    original[k * LD + (k + n / 2) % n] += (double)n;
                memcpy(matrix, original, sizeof matrix);
                fill(right, n, m);
                memcpy(unknown, right, sizeof unknown);
                ck_assert_int_eq(nbi_lu(&f, n, matrix, LD, exchange), n);
                nbi_lu_solve(&f, n, m, matrix, LD, exchange, transposed, unknown, LD);
                double worst = 0;
                for (int64_t r = 0; r < n; r++)
                    for (int64_t j = 0; j < m; j++) {
                        double sum = -right[r * LD + j];
                        for (int64_t k = 0; k < n; k++)
                            sum += original[transposed ? k * LD + r : r * LD + k] *
                                   unknown[k * LD + j];
                        worst = fmax(worst, fabs(sum));
                    }
                ck_assert_msg(worst < 1e-14 * (double)(n + 8), "%s, n = %d, m = %d: %g",
                              nbi_isa_name(isa_now), (int)n, (int)m, worst);
                ck_assert(untouched(unknown, n, m));
            }
}

START_TEST(systems_both_ways) { on_every_isa(solve_everywhere); }
END_TEST

/* ---- Cholesky -------------------------------------------------------------------------------- */

/* original = R R^T + I, whose upper triangle goes to matrix; below it NaN. */
static void positive(int64_t n)
{
    fill(right, n, n);
    clear(matrix);
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = i; j < n; j++) {
            double sum = i == j;
            for (int64_t k = 0; k < n; k++)
                sum += right[i * LD + k] * right[j * LD + k];
            original[i * LD + j] = matrix[i * LD + j] = sum;
        }
}

static void cholesky_everywhere(void)
{
    for (int i = 0; i < ORDERS; i++) {
        const int64_t n = orders[i];
        nbi_factor f = work(n, n);
        positive(n);
        ck_assert_int_eq(nbi_cholesky(&f, n, matrix, LD), n);
        bool good = true;
        for (int64_t r = 0; r < n; r++)
            for (int64_t j = r; j < n; j++) {
                double sum = 0, scale = 0;
                for (int64_t k = 0; k <= r; k++) {
                    sum += matrix[k * LD + r] * matrix[k * LD + j];
                    scale += fabs(matrix[k * LD + r] * matrix[k * LD + j]);
                }
                good = good && within(original[r * LD + j] - sum, scale, n);
                good = good && (r < j || matrix[r * LD + r] > 0);
            }
        ck_assert_msg(good, "%s, n = %d", nbi_isa_name(isa_now), (int)n);
        for (int64_t r = 0; r < n; r++)
            for (int64_t j = 0; j < r; j++)
                matrix[r * LD + j] = (double)NAN;
        ck_assert_msg(untouched(matrix, n, n), "%s, n = %d", nbi_isa_name(isa_now), (int)n);
    }
}

START_TEST(cholesky_gives_the_matrix_back) { on_every_isa(cholesky_everywhere); }
END_TEST

/* The identity with one diagonal element of -2 among others' ones. */
static void indefinite_everywhere(void)
{
    for (int64_t n = 1; n <= 70; n += 23)
        for (int64_t bad = 0; bad < n; bad++)
            for (int value = -2; value <= 0; value += 2) {
                nbi_factor f = work(n, n);
                clear(matrix);
                for (int64_t i = 0; i < n; i++)
                    for (int64_t j = i; j < n; j++)
                        matrix[i * LD + j] = i != j ? 0 : i == bad ? value : 1;
                ck_assert_int_eq(nbi_cholesky(&f, n, matrix, LD), bad);
                ck_assert_double_eq(matrix[bad * LD + bad], value);
            }
}

START_TEST(cholesky_finds_the_pivot_that_is_not_positive) { on_every_isa(indefinite_everywhere); }
END_TEST

/* A NaN in the middle is no missing pivot, and reaches every element of a solution. */
static void nan_everywhere(void)
{
    for (int64_t n = 5; n <= 45; n += 40) {
        nbi_factor f = work(n, 5);
        fill(matrix, n, n);
        matrix[n / 2 * LD + n / 3] = (double)NAN;
        fill(unknown, n, 5);
        ck_assert_int_eq(nbi_lu(&f, n, matrix, LD, exchange), n);
        nbi_lu_solve(&f, n, 5, matrix, LD, exchange, false, unknown, LD);
        int64_t numbers = 0;
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < 5; j++)
                numbers += !isnan(unknown[i * LD + j]);
        ck_assert_int_eq(numbers, 0);
    }
}

START_TEST(nan_is_not_laundered) { on_every_isa(nan_everywhere); }
END_TEST

START_TEST(turning)
{
    for (int64_t n = 0; n <= 40; n += 13) {
        fill(original, n, n);
        memcpy(matrix, original, sizeof matrix);
        nbi_turn(n, matrix, LD);
        bool turned = untouched(matrix, n, n);
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < n; j++)
                turned = turned && matrix[i * LD + j] == original[j * LD + i];
        ck_assert(turned);
    }
}
END_TEST

START_TEST(work_that_overflows_is_told)
{
    ck_assert_uint_eq(nbi_factor_bytes(NBI_ISA_PLAIN, NBI_FACTOR_BASE, INT64_MAX), 0);
    ck_assert_uint_eq(nbi_factor_bytes(NBI_ISA_PLAIN, INT64_MAX, 1), SIZE_MAX);
    ck_assert_uint_eq(nbi_factor_bytes(NBI_ISA_PLAIN, (int64_t)1 << 33, 1), SIZE_MAX);
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("factor");
    tcase_set_timeout(c, 60);
    tcase_add_test(c, lu_gives_the_matrix_back);
    tcase_add_test(c, lu_finds_the_column_without_pivot);
    tcase_add_test(c, triangular_systems);
    tcase_add_test(c, systems_both_ways);
    tcase_add_test(c, cholesky_gives_the_matrix_back);
    tcase_add_test(c, cholesky_finds_the_pivot_that_is_not_positive);
    tcase_add_test(c, nan_is_not_laundered);
    tcase_add_test(c, turning);
    tcase_add_test(c, work_that_overflows_is_told);
    return run_case("factor", c);
}
