/*
 * Scaling and squaring, for a matrix and a direction at once.
 *
 * Near 0 the exponential is a quotient of polynomials, Pade's approximant of order m:
 *
 *     e^A ~ q(A)^-1 p(A),     p(A) = V + U,  q(A) = V - U,     U the odd terms, V the even ones
 *
 *     U + V = sum over k of b[k] A^k,     b[m] = 1,  b[k-1] = b[k] (2m - k + 1) k / (m - k + 1)
 *
 * The b are whole numbers. For |A| up to reach[m] (1-norm) both e^A and its derivative are exact to
 * the unit of rounding, as the exponential of a matrix, and in a direction, that differ from the
 * given ones by no more than that (Al-Mohy and Higham). A larger A is halved s times first, and
 * the result squared s times: e^A = (e^(A / 2^s))^(2^s).
 *
 * Each halving too many costs digits, for the small elements of A / 2^s drown in the identity. And
 * the norm asks for too many where A is far from normal, say [1 10^9; 0 -1]: what matters is how
 * fast powers grow, d[k] = |A^k|^(1/k), of which max(d[6], d[8]) may stand for |A| at order 13.
 * Those powers are at hand. So halvings found needless are taken back, as long as rounding errors of
 * the polynomials, which follow |A|^27 taken element by element, stay below the unit.
 *
 * The derivative along E is what the same arithmetic yields on pairs (X, dX) that stand for
 * X + h dX with h^2 = 0. Sums go part by part, a product is (X Y, X dY + dX Y), and
 *
 *     Q X = P     gives     Q dX = dP - dQ X
 *
 * with the factorisation of Q that X needed already. So the algorithm is written once, over pairs;
 * without a direction the second parts are NULL, and left out.
 */
#include "kernels/exponential.h"
#include "kernels/spectral.h"

#include <math.h>
#include <string.h>

enum { HIGHEST = 13, PAIRS = 7 };

typedef struct pair {
    double *x, *d;
} pair;

typedef struct work {
    const nbi_factor *f;
    int64_t n, nn;
    double *room;
} work;

int64_t nbi_exponential_room(int64_t n, bool derive)
{
    int64_t nn, all;
    bool over = __builtin_mul_overflow(n, n, &nn);
    over |= __builtin_mul_overflow(nn, PAIRS * (derive ? 2 : 1), &all);
    return over ? -1 : all;
}

static pair take(work *w, bool derive)
{
    pair p = {w->room, derive ? w->room + w->nn : NULL};
    w->room += derive ? 2 * w->nn : w->nn;
    return p;
}

/* c = a b, or c += a b */
static void product(const work *w, const double *a, const double *b, double *c, bool add)
{
    const int64_t n = w->n;
    w->f->product(&(nbi_matmul){.m = n,
                                .n = n,
                                .k = n,
                                .a = a,
                                .b = b,
                                .c = c,
                                .lda = n,
                                .ldb = n,
                                .ldc = n,
                                .accumulate = add,
                                .scratch = w->f->scratch});
}

static void multiply(const work *w, pair a, pair b, pair c)
{
    product(w, a.x, b.x, c.x, false);
    if (c.d) {
        product(w, a.x, b.d, c.d, false);
        product(w, a.d, b.x, c.d, true);
    }
}

static void add_multiple(const work *w, double by, const double *x, double *y)
{
    for (int64_t i = 0; i < w->nn; i++)
        y[i] += by * x[i];
}

/* y += b[0] I + b[2] A^2 + b[4] A^4 + …, for so many powers. */
static void add_terms(const work *w, const double *b, int powers, const pair *power, pair y)
{
    for (int k = powers; k > 0; k--) {
        add_multiple(w, b[2 * k], power[k - 1].x, y.x);
        if (y.d)
            add_multiple(w, b[2 * k], power[k - 1].d, y.d);
    }
    for (int64_t i = 0; i < w->nn; i += w->n + 1)
        y.x[i] += b[0];
}

static void clear(const work *w, pair p)
{
    memset(p.x, 0, (size_t)w->nn * sizeof *p.x);
    if (p.d)
        memset(p.d, 0, (size_t)w->nn * sizeof *p.d);
}

/* ---- halvings -------------------------------------------------------------------------------- */

static const struct {
    int order;
    double reach;
} orders[] = {{3, 1.08e-2}, {5, 2.00e-1}, {7, 7.83e-1}, {9, 1.78}, {HIGHEST, 4.74}};
enum { ORDERS = sizeof orders / sizeof *orders };

/* The greatest sum of sizes in a column. */
static double norm(int64_t n, const double *a)
{
    double most = 0;
    for (int64_t j = 0; j < n; j++) {
        double sum = 0;
        for (int64_t i = 0; i < n; i++)
            sum += fabs(a[i * n + j]);
        most = fmax(most, sum);
    }
    return most;
}

/* The order for a matrix of this norm, and how often to halve it. */
static int plan(double size, int *halvings)
{
    const double most = orders[ORDERS - 1].reach;
    int i = 0;
    while (i < ORDERS - 1 && size > orders[i].reach)
        i++;
    *halvings = 0;
    if (size > most)
        frexp(size / most, halvings); /* size / most < 2^halvings */
    return orders[i].order;
}

/* a 2^exponent */
static void scale(const work *w, pair a, int exponent)
{
    nbi_scale(w->nn, a.x, exponent);
    if (a.d)
        nbi_scale(w->nn, a.d, exponent);
}

/* log2 of the norm of |a|^27, element by element. x and y have room for n numbers. */
static double log_growth(const work *w, const double *a, double *x, double *y)
{
    const int64_t n = w->n;
    double log = 0, most = 1;
    for (int64_t i = 0; i < n; i++)
        x[i] = 1;
    for (int k = 0; k < 2 * HIGHEST + 1 && most > 0; k++) {
        memset(y, 0, (size_t)n * sizeof *y);
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < n; j++)
                y[j] += x[i] * fabs(a[i * n + j]);
        most = 0;
        for (int64_t i = 0; i < n; i++)
            most = fmax(most, y[i]);
        for (int64_t i = 0; i < n; i++)
            x[i] = most > 0 ? y[i] / most : 0;
        log += log2(most);
    }
    return log;
}

/* How many of the halvings that a has been through may be taken back. At most so many: elements
 * that are far smaller are lost in the powers, and must be looked at again. */
enum { MOST_BACK = 64 };

static int needless(const work *w, const double *a, const pair *power, int halvings, double *x,
                    double *y)
{
    const double unit = -53, first_left_out = -116.4; /* log2; of 13! 13! / (26! 27!) */
    product(w, power[1].x, power[1].x, x, false);
    const double d6 = pow(norm(w->n, power[2].x), 1.0 / 6), d8 = pow(norm(w->n, x), 1.0 / 8);
    double back = floor(log2(orders[ORDERS - 1].reach / fmax(d6, d8)));
    back = fmin(fmin(back, halvings), MOST_BACK); /* NaN gives a number */
    const double grown = log_growth(w, a, x, y) - log2(norm(w->n, a));
    const double lost = first_left_out + grown + 2 * HIGHEST * back - unit;
    back -= lost > 0 ? ceil(lost / (2 * HIGHEST)) : 0;
    return back > 0 ? (int)back : 0;
}

/* ---- the approximant ------------------------------------------------------------------------- */

static void coefficients(int m, double b[HIGHEST + 1])
{
    uint64_t c = 1; /* below 2^57, and its product with the factors below 2^63 */
    b[m] = 1;
    for (int k = m; k > 0; k--) {
        c = c * (uint64_t)((2 * m - k + 1) * k) / (uint64_t)(m - k + 1);
        b[k - 1] = (double)c;
    }
}

/* y = sum of b[2k] A^2k: all powers up to 8 are there, or, for order 13, those up to 6, and what is
 * above comes as a multiple of A^6. */
static void polynomial(const work *w, int m, const double *b, const pair *power, pair spare, pair y)
{
    clear(w, y);
    if (m < HIGHEST) {
        add_terms(w, b, m / 2, power, y);
        return;
    }
    const double upper[] = {0, 0, b[8], 0, b[10], 0, b[12]};
    clear(w, spare);
    add_terms(w, upper, 3, power, spare);
    multiply(w, power[2], spare, y);
    add_terms(w, b, 3, power, y);
}

/* p + q and p - q into p and q. */
static void sum_and_difference(const work *w, double *p, double *q)
{
    for (int64_t i = 0; i < w->nn; i++) {
        const double v = p[i], u = q[i];
        p[i] = v + u;
        q[i] = v - u;
    }
}

/* q^-1 p into out; p and q are destroyed. */
static void divide(const work *w, pair p, pair q, pair out, int64_t *exchange)
{
    const int64_t n = w->n;
    const size_t bytes = (size_t)w->nn * sizeof(double);
    if (out.d) /* q is needed whole for it, and destroyed by its factorisation */
        memcpy(out.d, q.d, bytes);
    nbi_lu(w->f, n, q.x, n, exchange);
    memcpy(out.x, p.x, bytes);
    nbi_lu_solve(w->f, n, n, q.x, n, exchange, false, out.x, n);
    if (!out.d)
        return;
    product(w, q.d, out.x, p.x, false);
    for (int64_t i = 0; i < w->nn; i++)
        out.d[i] = p.d[i] - p.x[i];
    nbi_lu_solve(w->f, n, n, q.x, n, exchange, false, out.d, n);
}

/* Even powers of a, which was halved so many times; takes back what halvings it need not. */
static void powers_of(const work *w, int m, pair a, pair *power, int *halvings, pair x, pair y)
{
    const int powers = m < HIGHEST ? m / 2 : 3;
    int back = MOST_BACK;
    while (back == MOST_BACK) {
        for (int k = 0; k < powers; k++)
            multiply(w, k ? power[k - 1] : a, k ? power[0] : a, power[k]);
        back = *halvings ? needless(w, a.x, power, *halvings, x.x, y.x) : 0;
        *halvings -= back;
        scale(w, a, back);
    }
    for (int k = 0; k < powers; k++)
        scale(w, power[k], 2 * (k + 1) * back);
}

/* out = r(a), order m. Room for six pairs. */
static void approximate(work *w, int m, pair a, pair out, int *halvings, int64_t *exchange)
{
    const bool derive = out.d != NULL;
    double b[HIGHEST + 1];
    pair power[4], u = take(w, derive), v = take(w, derive);
    for (int k = 0; k < (m < HIGHEST ? m / 2 : 3); k++)
        power[k] = take(w, derive);
    powers_of(w, m, a, power, halvings, u, v);
    coefficients(m, b);
    polynomial(w, m, b + 1, power, v, out);
    multiply(w, a, out, u);
    polynomial(w, m, b, power, out, v);
    sum_and_difference(w, v.x, u.x);
    if (derive)
        sum_and_difference(w, v.d, u.d);
    divide(w, v, u, out, exchange);
}

/* ---- scaling and squaring -------------------------------------------------------------------- */

void nbi_exponential(const nbi_factor *f, int64_t n, const double *a, const double *e, double *x,
                     double *l, double *room, int64_t *exchange)
{
    int halvings;
    const int order = plan(fmin(norm(n, a), 0x1p1023), &halvings);
    work w = {f, n, n * n, room};
    pair from = {x, e ? l : NULL}, other = take(&w, e != NULL);
    memcpy(other.x, a, (size_t)w.nn * sizeof *a);
    if (e)
        memcpy(other.d, e, (size_t)w.nn * sizeof *e);
    scale(&w, other, -halvings);
    approximate(&w, order, other, from, &halvings, exchange);
    for (int i = 0; i < halvings; i++) {
        multiply(&w, from, from, other);
        const pair old = from;
        from = other;
        other = old;
    }
    if (from.x != x) {
        memcpy(x, from.x, (size_t)w.nn * sizeof *x);
        if (e)
            memcpy(l, from.d, (size_t)w.nn * sizeof *l);
    }
}
