/* The recursions that factor.h derives.
 *
 * Every function works on blocks of one array, given by a pointer to their first element
 * and the array's leading dimension. A recursion halves its block, so it is at most
 * some sixty calls deep for any size that an address can count.
 *
 * Rows are contiguous, so the loops at the bottom run along rows: LU and Cholesky take
 * multiples of the pivot's row from the rows below, a triangular system with several
 * columns takes multiples of rows of X. A single column has rows of one element: there T is
 * read along its own rows, by dot products where the stored row is what multiplies X, by
 * multiples of it where the system is transposed.
 *
 * Exchanges are made in whole rows of the array, on both sides of the columns at work, so
 * that L, U and the list of exchanges agree at the end. */
#include "kernels/factor.h"

#include <math.h>
#include <string.h>

enum { BASE = NBI_FACTOR_BASE, THIN = NBI_FACTOR_THIN };

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

/* ---- work memory ----------------------------------------------------------------------------- */

/* Elements of the largest block that changes its sign: half the matrix wide, and as high as
 * half of it, or as the right side is wide. */
static bool block_elements(int64_t n, size_t *elements)
{
    const int64_t half = n - n / 2;
    return !__builtin_mul_overflow((size_t)half, (size_t)nbi_factor_stride(half) + 8, elements) &&
           *elements <= SIZE_MAX / 16;
}

size_t nbi_factor_bytes(nbi_isa isa, int64_t n, int64_t m)
{
    size_t elements;
    if (n <= BASE)
        return 0;
    if (!block_elements(n, &elements))
        return SIZE_MAX;
    return nbi_matmul_scratch(isa, true, n, n > m ? n : m, n) + elements * sizeof(double);
}

nbi_factor nbi_factor_with(nbi_isa isa, nbi_matmul_fn product, void *memory, int64_t n, int64_t m)
{
    nbi_factor f = {.product = product};
    if (memory) { /* the product's scratch first: it has the alignment */
        size_t scratch = nbi_matmul_scratch(isa, true, n, n > m ? n : m, n);
        f.scratch = scratch ? memory : NULL;
        f.block = (double *)(void *)((char *)memory + scratch);
    }
    return f;
}

/* ---- C -= A B -------------------------------------------------------------------------------- */

typedef struct block {
    const double *data;
    int64_t ld;
    bool transposed; /* in the product */
} block;

/* The rows x columns array, negated into work memory. */
static block negated(const nbi_factor *f, block x, int64_t rows, int64_t columns)
{
    const int64_t ld = nbi_factor_stride(columns);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j++)
            f->block[i * ld + j] = -x.data[i * x.ld + j];
    return (block){f->block, ld, x.transposed};
}

/* C [m n] -= A [m k] B [k n], each as used in the product. One of A, B has at most as many elements
 * as the work memory. */
static void subtract(const nbi_factor *f, int64_t m, int64_t n, int64_t k, block a, block b,
                     double *c, int64_t ldc)
{
    if (m <= n)
        a = negated(f, a, a.transposed ? k : m, a.transposed ? m : k);
    else
        b = negated(f, b, b.transposed ? n : k, b.transposed ? k : n);
    f->product(&(nbi_matmul){.m = m,
                             .n = n,
                             .k = k,
                             .a = a.data,
                             .b = b.data,
                             .c = c,
                             .lda = a.ld,
                             .ldb = b.ld,
                             .ldc = ldc,
                             .ta = a.transposed,
                             .tb = b.transposed,
                             .accumulate = true,
                             .scratch = f->scratch});
}

/* y -= s x */
static void take(int64_t n, double s, const double *x, double *y)
{
    for (int64_t j = 0; j < n; j++)
        y[j] -= s * x[j];
}

/* ---- triangular systems ---------------------------------------------------------------------- */

/* One column, read along the rows of T: X[i] = (B[i] - sum of T[i][k] X[k]) / T[i][i]. */
static void solve_by_rows(const nbi_triangle *t, double *b, int64_t ldb)
{
    for (int64_t s = 0; s < t->n; s++) {
        int64_t i = t->lower ? s : t->n - 1 - s, from = t->lower ? 0 : i + 1;
        const double *row = t->data + i * t->ld, *x = b + from * ldb;
        double sum = 0;
        for (int64_t k = 0; k < s; k++)
            sum += row[from + k] * x[k * ldb];
        b[i * ldb] = (b[i * ldb] - sum) / (t->unit ? 1 : row[i]);
    }
}

/* The same, transposed: row i of T, times X[i], is taken from what follows. */
static void solve_by_columns(const nbi_triangle *t, double *b, int64_t ldb)
{
    for (int64_t s = t->n - 1; s >= 0; s--) {
        int64_t i = t->lower ? s : t->n - 1 - s, from = t->lower ? 0 : i + 1;
        const double *row = t->data + i * t->ld;
        double x = b[i * ldb] /= t->unit ? 1 : row[i];
        for (int64_t k = 0; k < s; k++)
            b[(from + k) * ldb] -= row[from + k] * x;
    }
}

/* Several columns, few rows: rows of X are finished one by one, forwards where what multiplies them
 * lies below the diagonal. */
static void solve_small(const nbi_triangle *t, int64_t m, double *b, int64_t ldb)
{
    const bool forward = t->lower != t->transposed;
    const int64_t down = t->transposed ? 1 : t->ld, right = t->transposed ? t->ld : 1;
    for (int64_t s = 0; s < t->n; s++) {
        int64_t i = forward ? s : t->n - 1 - s, from = forward ? 0 : i + 1;
        const double *row = t->data + i * down;
        double *x = b + i * ldb;
        for (int64_t k = from; k < from + s; k++)
            take(m, row[k * right], b + k * ldb, x);
        for (int64_t j = 0; !t->unit && j < m; j++)
            x[j] /= row[i * right];
    }
}

void nbi_triangle_solve(const nbi_factor *f, const nbi_triangle *t, int64_t m, double *b,
                        int64_t ldb)
{
    if (m < THIN) {
        for (int64_t j = 0; j < m; j++)
            (t->transposed ? solve_by_columns : solve_by_rows)(t, b + j, ldb);
        return;
    }
    if (t->n <= BASE) {
        solve_small(t, m, b, ldb);
        return;
    }
    const int64_t n1 = t->n / 2, n2 = t->n - n1;
    nbi_triangle first = *t, second = *t;
    first.n = n1;
    second.n = n2, second.data += n1 * (t->ld + 1);
    block off = {t->data + (t->lower ? n1 * t->ld : n1), t->ld, t->transposed};
    double *b1 = b, *b2 = b + n1 * ldb;
    if (t->lower != t->transposed) {
        nbi_triangle_solve(f, &first, m, b1, ldb);
        subtract(f, n2, m, n1, off, (block){b1, ldb, false}, b2, ldb);
        nbi_triangle_solve(f, &second, m, b2, ldb);
    } else {
        nbi_triangle_solve(f, &second, m, b2, ldb);
        subtract(f, n1, m, n2, off, (block){b2, ldb, false}, b1, ldb);
        nbi_triangle_solve(f, &first, m, b1, ldb);
    }
}

/* ---- LU -------------------------------------------------------------------------------------- */

static void exchange_rows(int64_t n, double *x, double *y)
{
    for (int64_t j = 0; j < n && x != y; j++) {
        double v = x[j];
        x[j] = y[j];
        y[j] = v;
    }
}

/* The bits of |v|: as whole numbers they are ordered as the numbers are, with NaN above all. */
static int64_t magnitude(double v)
{
    int64_t bits;
    memcpy(&bits, &v, sizeof bits);
    return bits & INT64_MAX;
}

/* The row, from i on, with the greatest element of a column, the first of equals. */
static int64_t find_pivot(int64_t i, int64_t rows, const double *column, int64_t ld)
{
    int64_t at = i, most = magnitude(column[i * ld]);
    for (int64_t k = i + 1; k < rows; k++) {
        int64_t v = magnitude(column[k * ld]);
        at = v > most ? k : at;
        most = v > most ? v : most;
    }
    return at;
}

/* Columns of the block [rows n], n <= rows, that begins at a; the first one that has no pivot, or
 * n. */
static int64_t lu_small(int64_t rows, int64_t n, double *a, int64_t ld, int64_t *exchange)
{
    for (int64_t i = 0; i < n; i++) {
        exchange[i] = find_pivot(i, rows, a + i, ld);
        exchange_rows(n, a + i * ld, a + exchange[i] * ld);
        const double *top = a + i * ld, pivot = top[i];
        if (pivot == 0)
            return i;
        for (int64_t k = i + 1; k < rows; k++) {
            double *row = a + k * ld;
            row[i] /= pivot;
            take(n - i - 1, row[i], top + i + 1, row + i + 1);
        }
    }
    return n;
}

static void exchange_all(int64_t n, const int64_t *exchange, int64_t columns, double *a, int64_t ld)
{
    for (int64_t i = 0; i < n; i++)
        exchange_rows(columns, a + i * ld, a + exchange[i] * ld);
}

static int64_t lu_columns(const nbi_factor *f, int64_t rows, int64_t n, double *a, int64_t ld,
                          int64_t *exchange)
{
    if (n <= BASE)
        return lu_small(rows, n, a, ld, exchange);
    const int64_t n1 = n / 2, n2 = n - n1;
    double *a12 = a + n1, *a21 = a + n1 * ld, *a22 = a21 + n1;
    int64_t done = lu_columns(f, rows, n1, a, ld, exchange);
    if (done < n1)
        return done;
    exchange_all(n1, exchange, n2, a12, ld);
    nbi_triangle l11 = {.data = a, .n = n1, .ld = ld, .lower = true, .unit = true};
    nbi_triangle_solve(f, &l11, n2, a12, ld);
    subtract(f, rows - n1, n2, n1, (block){a21, ld, false}, (block){a12, ld, false}, a22, ld);
    done = lu_columns(f, rows - n1, n2, a22, ld, exchange + n1);
    const int64_t chosen = least(done + 1, n2);
    exchange_all(chosen, exchange + n1, n1, a21, ld);
    for (int64_t i = n1; i < n1 + chosen; i++)
        exchange[i] += n1;
    return n1 + done;
}

int64_t nbi_lu(const nbi_factor *f, int64_t n, double *a, int64_t lda, int64_t *exchange)
{
    return lu_columns(f, n, n, a, lda, exchange);
}

void nbi_exchange(int64_t n, const int64_t *exchange, bool undo, int64_t m, double *b, int64_t ldb)
{
    if (!undo)
        exchange_all(n, exchange, m, b, ldb);
    for (int64_t i = n - 1; i >= 0 && undo; i--)
        exchange_rows(m, b + i * ldb, b + exchange[i] * ldb);
}

/* L U X = P B forwards; U^T L^T (P X) = B the other way round. */
void nbi_lu_solve(const nbi_factor *f, int64_t n, int64_t m, const double *lu, int64_t ldlu,
                  const int64_t *exchange, bool transposed, double *b, int64_t ldb)
{
    nbi_triangle l = {lu, n, ldlu, .lower = true, .transposed = transposed, .unit = true};
    nbi_triangle u = {lu, n, ldlu, .transposed = transposed};
    if (!transposed)
        nbi_exchange(n, exchange, false, m, b, ldb);
    nbi_triangle_solve(f, transposed ? &u : &l, m, b, ldb);
    nbi_triangle_solve(f, transposed ? &l : &u, m, b, ldb);
    if (transposed)
        nbi_exchange(n, exchange, true, m, b, ldb);
}

/* ---- LDU ------------------------------------------------------------------------------------- */

/* The greatest element of rows and columns from i on, the first of equals. */
static void find_greatest(int64_t i, int64_t n, const double *a, int64_t ld, int64_t *row,
                          int64_t *column)
{
    int64_t most = -1;
    for (int64_t k = i; k < n; k++)
        for (int64_t j = i; j < n; j++) {
            int64_t v = magnitude(a[k * ld + j]);
            if (v > most)
                most = v, *row = k, *column = j;
        }
}

void nbi_ldu(int64_t n, double *a, int64_t lda, int64_t *rows, int64_t *columns)
{
    for (int64_t i = 0; i < n; i++) {
        find_greatest(i, n, a, lda, rows + i, columns + i);
        exchange_rows(n, a + i * lda, a + rows[i] * lda);
        for (int64_t k = 0; k < n && columns[i] != i; k++)
            exchange_rows(1, a + k * lda + i, a + k * lda + columns[i]);
        double *top = a + i * lda, pivot = top[i];
        if (pivot == 0)
            continue; /* all that is left is 0, and so are its shares of L and W */
        for (int64_t k = i + 1; k < n; k++) {
            double *row = a + k * lda;
            row[i] /= pivot;
            take(n - i - 1, row[i], top + i + 1, row + i + 1);
        }
        for (int64_t j = i + 1; j < n; j++)
            top[j] /= pivot;
    }
}

/* ---- Cholesky -------------------------------------------------------------------------------- */

static int64_t cholesky_small(int64_t n, double *a, int64_t ld)
{
    for (int64_t i = 0; i < n; i++) {
        double *top = a + i * ld;
        if (top[i] <= 0)
            return i;
        top[i] = sqrt(top[i]);
        for (int64_t j = i + 1; j < n; j++)
            top[j] /= top[i];
        for (int64_t k = i + 1; k < n; k++)
            take(n - k, top[k], top + k, a + k * ld + k);
    }
    return n;
}

/* The upper triangle of C [n n] -= U^T U, U [k n]: the blocks on the diagonal by halves. */
static void subtract_square(const nbi_factor *f, int64_t n, int64_t k, const double *u, double *c,
                            int64_t ld)
{
    if (n <= 4 * BASE) {
        for (int64_t i = 0; i < n; i += BASE) {
            int64_t rows = least(n - i, BASE);
            subtract(f, rows, n - i, k, (block){u + i, ld, true}, (block){u + i, ld, false},
                     c + i * (ld + 1), ld);
        }
        return;
    }
    const int64_t n1 = n / 2, n2 = n - n1;
    subtract_square(f, n1, k, u, c, ld);
    subtract(f, n1, n2, k, (block){u, ld, true}, (block){u + n1, ld, false}, c + n1, ld);
    subtract_square(f, n2, k, u + n1, c + n1 * (ld + 1), ld);
}

int64_t nbi_cholesky(const nbi_factor *f, int64_t n, double *a, int64_t lda)
{
    if (n <= BASE)
        return cholesky_small(n, a, lda);
    const int64_t n1 = n / 2, n2 = n - n1;
    double *a12 = a + n1, *a22 = a + n1 * (lda + 1);
    int64_t done = nbi_cholesky(f, n1, a, lda);
    if (done < n1)
        return done;
    nbi_triangle u11 = {.data = a, .n = n1, .ld = lda, .transposed = true};
    nbi_triangle_solve(f, &u11, n2, a12, lda);
    subtract_square(f, n2, n1, a12, a22, lda);
    return n1 + nbi_cholesky(f, n2, a22, lda);
}

/* ---- across the diagonal, by square blocks --------------------------------------------------- */

/* Calls f for each pair of elements (i, j) and (j, i), i < j. */
static void across(int64_t n, double *a, int64_t ld, void (*f)(double *upper, double *lower))
{
    for (int64_t top = 0; top < n; top += BASE)
        for (int64_t left = top; left < n; left += BASE)
            for (int64_t i = top; i < least(top + BASE, n); i++)
                for (int64_t j = left > i ? left : i + 1; j < least(left + BASE, n); j++)
                    f(&a[i * ld + j], &a[j * ld + i]);
}

static void swap(double *upper, double *lower)
{
    double v = *upper;
    *upper = *lower;
    *lower = v;
}

static void halve(double *upper, double *lower) { *upper = 0.5 * *upper + 0.5 * *lower; }

void nbi_turn(int64_t n, double *b, int64_t ldb) { across(n, b, ldb, swap); }

void nbi_half_sum(int64_t n, double *a, int64_t lda) { across(n, a, lda, halve); }
