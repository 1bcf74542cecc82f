/*
 * Functions of many scalars: one node each, whatever the number of operands.
 *
 *     f                 value                          derivative by x_k
 *     sum_of            sum x_i                        1
 *     mean_of           sum x_i / n                    1/n
 *     dot_of            sum x_i y_i                    y_k  (and x_k by y_k)
 *     combine_of        sum c_i x_i                    c_k, fixed numbers
 *     logsumexp_of      m + log sum exp(x_i - m)       exp(x_k - m) / sum exp(x_i - m),  m = max x
 *     norm_of           s sqrt(sum (x_i/s)^2)          x_k / f, 0 at the origin,         s = max |x|
 *     max_of, min_of    max x_i, min x_i               1 / (number that attain it), else 0
 *     maxout_of         max_j b_j + sum w_ji x_i       likewise by piece
 *
 * The operands stand in the tape's list: for dot_of x then y, for combine_of x then the coefficients
 * (two words each), for maxout_of w, b, x and behind them the number of pieces. What a derivative
 * needs besides (the maximum, a count) is computed anew in the sweep, in one pass.
 */
#include "tape/tape.h"

#include <math.h>
#include <nabla/ops.h>

/* A node of this kind, opened for reading. */
typedef struct node {
    const nb_tape *t;
    const uint32_t *at; /* operands */
    size_t n;           /* how many */
    uint8_t op;
    double r;           /* the value */
    double base, scale; /* for the slopes, by op: see prepare */
} node;

static double x_of(const node *f, size_t k) { return f->t->hot.cells[f->at[k]].value; }

static double coefficient(const node *f, size_t k)
{
    double c;
    memcpy(&c, f->at + f->n + 2 * k, sizeof c);
    return c;
}

/* For maxout: k pieces of n inputs; w [k n], b [k], x [n]. */
static size_t pieces(const node *f) { return f->at[f->n]; }

static double piece(const node *f, size_t j)
{
    size_t k = pieces(f), n = (f->n - k) / (k + 1);
    double s = x_of(f, k * n + j);
    for (size_t i = 0; i < n; i++)
        s += x_of(f, j * n + i) * x_of(f, k * n + k + i);
    return s;
}

/* ---- values ---------------------------------------------------------------------------------- */

/* The greatest of n numbers (the least for sign -1); NaN if one is NaN. */
static double extreme(const node *f, size_t n, double (*number)(const node *, size_t), double sign)
{
    double m = -(double)INFINITY;
    for (size_t k = 0; k < n; k++) {
        double v = sign * number(f, k);
        if (v > m || v != v)
            m = v;
        if (v != v)
            break;
    }
    return sign * m;
}

static double magnitude(const node *f, size_t k) { return fabs(x_of(f, k)); }

static double exp_sum(const node *f, double m)
{
    double s = 0;
    for (size_t k = 0; k < f->n; k++)
        s += exp(x_of(f, k) - m);
    return s;
}

static double norm(const node *f)
{
    double m = extreme(f, f->n, magnitude, 1), s = 0;
    if (!(m > 0) || isinf(m))
        return m > 0 || m != m ? m : 0;
    int e;
    frexp(m, &e); /* a power of two scales without rounding */
    e = e < -1000 ? -1000 : e;
    for (size_t k = 0; k < f->n; k++) {
        double u = ldexp(x_of(f, k), -e);
        s += u * u;
    }
    return ldexp(sqrt(s), e);
}

static double value(const node *f)
{
    double s = 0, m;
    switch (f->op) {
    case NBI_SUM:
    case NBI_MEAN:
        for (size_t k = 0; k < f->n; k++)
            s += x_of(f, k);
        return f->op == NBI_SUM ? s : s / (double)f->n;
    case NBI_DOT:
        for (size_t k = 0; k < f->n / 2; k++)
            s += x_of(f, k) * x_of(f, k + f->n / 2);
        return s;
    case NBI_COMBINE:
        for (size_t k = 0; k < f->n; k++)
            s += coefficient(f, k) * x_of(f, k);
        return s;
    case NBI_LOGSUMEXP:
        m = extreme(f, f->n, x_of, 1);
        return isinf(m) || m != m ? m : m + log(exp_sum(f, m));
    case NBI_NORM: return norm(f);
    case NBI_MAX: return extreme(f, f->n, x_of, 1);
    case NBI_MIN: return extreme(f, f->n, x_of, -1);
    default: return extreme(f, pieces(f), piece, 1);
    }
}

/* ---- slopes ---------------------------------------------------------------------------------- */

/* What all slopes of the node share. */
static void prepare(node *f)
{
    f->base = f->r;
    f->scale = 1;
    if (f->op == NBI_MEAN)
        f->scale = 1 / (double)f->n;
    if (f->op == NBI_LOGSUMEXP) {
        f->base = extreme(f, f->n, x_of, 1);
        size_t ties = 0; /* at +inf, the operands there share the gradient */
        for (size_t k = 0; k < f->n; k++)
            ties += x_of(f, k) == f->base;
        f->scale = 1 / (isinf(f->base) ? (double)ties : exp_sum(f, f->base));
    }
    if (f->op == NBI_MAX || f->op == NBI_MIN || f->op == NBI_MAXOUT) {
        size_t ties = 0, n = f->op == NBI_MAXOUT ? pieces(f) : f->n;
        for (size_t k = 0; k < n; k++)
            ties += (f->op == NBI_MAXOUT ? piece(f, k) : x_of(f, k)) == f->r;
        f->scale = f->r != f->r ? (double)NAN : 1 / (double)ties;
    }
}

static double slope_maxout(const node *f, size_t at)
{
    size_t k = pieces(f), n = (f->n - k) / (k + 1);
    if (at < k * n)
        return piece(f, at / n) == f->r ? f->scale * x_of(f, k * n + k + at % n) : f->scale * 0;
    if (at < k * n + k)
        return piece(f, at - k * n) == f->r ? f->scale : f->scale * 0;
    double s = 0;
    for (size_t j = 0; j < k; j++)
        if (piece(f, j) == f->r || f->r != f->r)
            s += f->scale * x_of(f, j * n + (at - k * n - k));
    return s;
}

static double slope(const node *f, size_t k)
{
    const size_t half = f->n / 2;
    double x;
    switch (f->op) {
    case NBI_SUM:
    case NBI_MEAN: return f->scale;
    case NBI_DOT: return x_of(f, k < half ? k + half : k - half);
    case NBI_COMBINE: return coefficient(f, k);
    case NBI_LOGSUMEXP:
        x = x_of(f, k);
        if (isinf(f->base))
            return f->base > 0 ? (x == f->base ? f->scale : 0) : 0;
        return exp(x - f->base) * f->scale;
    case NBI_NORM: return f->r == 0 ? 0 : x_of(f, k) / f->r;
    case NBI_MAXOUT: return slope_maxout(f, k);
    default: return x_of(f, k) == f->r ? f->scale : f->scale * 0; /* max, min; NaN stays NaN */
    }
}

static node open(const nb_tape *t, uint32_t i)
{
    const nbi_args a = t->hot.args[i];
    node f = {t, t->list + a.a, a.b, t->hot.ops[i], t->hot.cells[i].value, 0, 1};
    prepare(&f);
    return f;
}

double nbi_value_many(const nb_tape *t, uint32_t i)
{
    const nbi_args a = t->hot.args[i];
    const node f = {t, t->list + a.a, a.b, t->hot.ops[i], 0, 0, 1};
    return value(&f);
}

void nbi_reverse_many(nb_tape *t, uint32_t i, double g, const uint8_t *wanted)
{
    node f = open(t, i);
    for (size_t k = 0; k < f.n; k++)
        if (!nbi_still(t, f.at[k]) && (!wanted || wanted[f.at[k]]))
            t->hot.cells[f.at[k]].adjoint += g * slope(&f, k);
}

double nbi_tangent_many(const nb_tape *t, uint32_t i)
{
    node f = open(t, i);
    double s = 0;
    for (size_t k = 0; k < f.n; k++) {
        double d = t->tangent[f.at[k]];
        s += d != 0 ? d * slope(&f, k) : 0;
    }
    return s;
}

double nbi_partial_many(const nb_tape *t, uint32_t i, size_t k)
{
    uint8_t op = t->hot.ops[i];
    if (op < NBI_SUM || op > NBI_MAXOUT)
        return (double)NAN;
    node f = open(t, i);
    return slope(&f, k);
}

void nbi_partials_many(const nb_tape *t, uint32_t i, double *z)
{
    node f = open(t, i);
    for (size_t k = 0; k < f.n; k++)
        z[k] = slope(&f, k);
}

/* ---- recording ------------------------------------------------------------------------------- */

/* Operands as places in the list; only scalars may stand there. */
static bool resolve(nb_tape *t, const char *name, size_t n, const nb_var *x, size_t from)
{
    for (size_t k = 0; k < n; k++) {
        uint32_t at = x[k].index;
        if (x[k].tape ? nbi_is_tensor(t, at) : !nbi_constant_at(t, nbi_number(x[k]), &at)) {
            nbi_fail(t, NB_ERR_SHAPE, "%s: operand %zu is a tensor; stack and reduce it instead",
                     name, k);
            return false;
        }
        t->list[t->list_length + from + k] = at;
    }
    return true;
}

typedef struct part {
    size_t n;
    const nb_var *x;
} part;

static bool numbers_only(const part *p)
{
    for (size_t k = 0; k < p->n; k++)
        if (p->x[k].tape || nbi_is_inert(p->x[k]))
            return false;
    return true;
}

/* The tape of the operands and in *n their number: 0 after an error. NULL where all are numbers. */
static nb_tape *home_of_all(const char *name, const part *p, size_t n_parts, size_t *n)
{
    nb_tape *t = NULL;
    nb_var inert;
    bool good = true;
    for (size_t j = 0; j < n_parts; j++)
        for (size_t k = 0; p[j].x && k < p[j].n && !t; k++)
            t = p[j].x[k].tape;
    for (size_t j = 0; j < n_parts && good; *n += p[j++].n) {
        if (p[j].n && !p[j].x) {
            nbi_fail(t, NB_ERR_ARGUMENT, "%s: the operands are NULL", name);
            good = false;
        } else if (!numbers_only(&p[j])) {
            nb_tape *home = nbi_home(name, p[j].n, p[j].x, &inert);
            good = home && home == t;
            if (home && home != t)
                nbi_fail(t, NB_ERR_HANDLE, "%s: the operands are of two tapes", name);
        }
    }
    *n = good ? *n : 0;
    return t;
}

static nb_var many(uint8_t op, const char *name, const part *p, size_t n_parts, size_t tail_words,
                   const void *tail)
{
    size_t n = 0;
    nb_tape *t = home_of_all(name, p, n_parts, &n);
    if (!t || n == 0)
        return nbi_inert(t);
    nb_mark before = nb_tape_mark(t);
    bool done = nbi_list_room(t, n + tail_words) != NULL;
    for (size_t j = 0, from = 0; j < n_parts && done; from += p[j++].n)
        done = resolve(t, name, p[j].n, p[j].x, from);
    if (!done || !nbi_room(t)) {
        nbi_truncate(t, &before);
        return nbi_inert(t);
    }
    if (tail_words)
        memcpy(t->list + t->list_length + n, tail, tail_words * sizeof *t->list);
    node f = {t, t->list + t->list_length, n, op, 0, 0, 1};
    double r = value(&f);
    bool still = true;
    for (size_t k = 0; k < n; k++)
        still = still && nbi_still(t, f.at[k]);
    nb_var v;
    if (still || !t->recording) {
        v = nb_constant(t, r);
    } else {
        v = nbi_push(t, op, (uint32_t)t->list_length, (uint32_t)n, r);
        t->list_length += n + tail_words;
    }
    if (t->anomaly && !isfinite(r))
        nbi_anomaly(t, v.index, "the value is not finite");
    return v;
}

/* Of nothing at all, a function with an identity is that number; there is no tape to complain on, so
 * one without is no var. */
static nb_var one(uint8_t op, const char *name, size_t n, const nb_var *x, nb_var identity)
{
    return n ? many(op, name, &(part){n, x}, 1, 0, NULL) : identity;
}

nb_var nb_sum_of(size_t n, const nb_var *x) { return one(NBI_SUM, "sum_of", n, x, nb_num(0)); }

nb_var nb_mean_of(size_t n, const nb_var *x) { return one(NBI_MEAN, "mean_of", n, x, NB_NONE); }

nb_var nb_logsumexp_of(size_t n, const nb_var *x)
{
    return one(NBI_LOGSUMEXP, "logsumexp_of", n, x, nb_num(-(double)INFINITY));
}

nb_var nb_norm_of(size_t n, const nb_var *x) { return one(NBI_NORM, "norm_of", n, x, nb_num(0)); }

nb_var nb_max_of(size_t n, const nb_var *x) { return one(NBI_MAX, "max_of", n, x, NB_NONE); }

nb_var nb_min_of(size_t n, const nb_var *x) { return one(NBI_MIN, "min_of", n, x, NB_NONE); }

nb_var nb_dot_of(size_t n, const nb_var *x, const nb_var *y)
{
    part p[2] = {{n, x}, {n, y}};
    return n ? many(NBI_DOT, "dot_of", p, 2, 0, NULL) : nb_num(0);
}

nb_var nb_combine_of(size_t n, const double *c, const nb_var *x)
{
    if (n && !c && x && x->tape)
        nbi_fail(x->tape, NB_ERR_ARGUMENT, "combine_of: the coefficients are NULL");
    if (n && !c)
        return nbi_inert(x ? x->tape : NULL);
    return n ? many(NBI_COMBINE, "combine_of", &(part){n, x}, 1, 2 * n, c) : nb_num(0);
}

nb_var nb_maxout_of(size_t k, size_t n, const nb_var *w, const nb_var *b, const nb_var *x)
{
    uint32_t tail = (uint32_t)k;
    size_t weights;
    if (!k || k > UINT32_MAX || __builtin_mul_overflow(k, n, &weights))
        return NB_NONE;
    part p[3] = {{weights, w}, {k, b}, {n, x}};
    return many(NBI_MAXOUT, "maxout_of", p, 3, 1, &tail);
}
