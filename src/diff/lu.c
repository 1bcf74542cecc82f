/*
 * LU factors of a small dense matrix, with partial pivoting.
 *
 * P A = L U: in column k the row with the greatest entry is exchanged with row k, so that all
 * multipliers are at most 1 and rounding errors do not grow beyond what U's growth brings. Then
 *
 *     A s = b       L (U s) = P b            forwards, then backwards
 *     A' s = b      U' w = b, L' v = w, s = P' v
 *
 * serve from the same factors. A pivot of exactly 0 means that no entry of the column could be used:
 * A is singular. A pivot that is not finite would make every number behind it so.
 */
#include "diff/equation.h"

#include <math.h>

nbi_factors *nbi_factors_new(nb_tape *t, nbi_arena *arena, size_t n, const char *who)
{
    size_t bytes;
    nbi_factors *f = nbi_take(arena, sizeof *f, _Alignof(nbi_factors));
    bool fits = !__builtin_mul_overflow(n, n, &bytes) &&
                !__builtin_mul_overflow(bytes, sizeof(double), &bytes);
    if (f) {
        f->ready = false;
        f->n = n;
        f->a = fits ? nbi_take(arena, bytes, NBI_ALIGN) : NULL;
        f->row = f->a ? nbi_take(arena, n * sizeof *f->row, _Alignof(size_t)) : NULL;
    }
    if (f && f->row)
        return f;
    nbi_no_memory(t, who);
    return NULL;
}

static void exchange(double *a, double *b, size_t n)
{
    for (size_t j = 0; j < n; j++) {
        const double keep = a[j];
        a[j] = b[j];
        b[j] = keep;
    }
}

size_t nbi_factor(nbi_factors *f)
{
    const size_t n = f->n;
    double *a = f->a;
    for (size_t k = 0; k < n; k++) {
        size_t best = k;
        for (size_t i = k + 1; i < n; i++)
            if (!(fabs(a[i * n + k]) <= fabs(a[best * n + k])))
                best = i;
        f->row[k] = best;
        if (best != k)
            exchange(a + k * n, a + best * n, n);
        const double pivot = a[k * n + k];
        if (pivot == 0 || !isfinite(pivot))
            return k;
        for (size_t i = k + 1; i < n; i++) {
            const double m = a[i * n + k] /= pivot;
            for (size_t j = k + 1; j < n && m != 0; j++)
                a[i * n + j] -= m * a[k * n + j];
        }
    }
    f->ready = true;
    return n;
}

static void solve_plain(const nbi_factors *f, double *s)
{
    const size_t n = f->n;
    for (size_t k = 0; k < n; k++)
        exchange(&s[k], &s[f->row[k]], 1);
    for (size_t i = 1; i < n; i++)
        s[i] -= nbi_inner(i, f->a + i * n, s);
    for (size_t i = n; i-- > 0;)
        s[i] = (s[i] - nbi_inner(n - i - 1, f->a + i * n + i + 1, s + i + 1)) / f->a[i * n + i];
}

/* Row by row as well: what row k holds of the solution is taken from all that follow. */
static void solve_transposed(const nbi_factors *f, double *s)
{
    const size_t n = f->n;
    for (size_t k = 0; k < n; k++) {
        s[k] /= f->a[k * n + k];
        for (size_t j = k + 1; j < n; j++)
            s[j] -= f->a[k * n + j] * s[k];
    }
    for (size_t k = n; k-- > 0;)
        for (size_t j = 0; j < k; j++)
            s[j] -= f->a[k * n + j] * s[k];
    for (size_t k = n; k-- > 0;)
        exchange(&s[k], &s[f->row[k]], 1);
}

void nbi_factors_solve(const nbi_factors *f, bool transposed, const double *b, double *s)
{
    if (f->n)
        memmove(s, b, f->n * sizeof *s);
    if (transposed)
        solve_transposed(f, s);
    else
        solve_plain(f, s);
}
