/*
 * What a wrong gradient has in common with the right one.
 *
 * Two kinds of relation are tried on the wrong coordinates of one input, and one is believed only if
 * it holds for all of them within what the differences know:
 *
 *     a constant ratio    -1, 2, 1/2, the batch size or one over it, 0, or another factor
 *     other places        what stands at p is the derivative at a place q(p): transposed, or shifted
 *
 * A single number is always some multiple of another, so with one coordinate only the ratios that
 * have names count. For other places the derivative there is measured when it is asked for.
 */
#include "check/verify.h"

#include <math.h>
#include <stdio.h>

enum { FEW = 6 };

/* ---- a constant ratio ------------------------------------------------------------------------ */

static bool near(double a, double b, double slack) { return fabs(a - b) <= slack * fabs(b); }

static nb_diagnosis named(const nbi_verify *c, double ratio, double slack)
{
    const double whole = fabs(ratio) >= 1 ? ratio : 1 / ratio;
    bool batch = c->o.batch > 1 && near(whole, (double)c->o.batch, slack);
    if (near(ratio, -1, slack))
        return NB_DIAGNOSIS_SIGN;
    if (!batch && near(ratio, 2, slack))
        return NB_DIAGNOSIS_TWICE;
    if (!batch && near(ratio, 0.5, slack))
        return NB_DIAGNOSIS_HALF;
    for (int k = 0; k < c->n_sizes && !c->o.batch; k++)
        batch = batch || (c->sizes[k] > 1 && near(whole, (double)c->sizes[k], slack));
    for (size_t k = 0; k < c->n_block && !c->o.batch; k++)
        for (int d = 0; d < c->block[k].shape.rank; d++)
            batch = batch || (c->block[k].shape.dims[d] > 1 &&
                              near(whole, (double)c->block[k].shape.dims[d], slack));
    if (!batch)
        return NB_DIAGNOSIS_NONE;
    return fabs(ratio) >= 1 ? NB_DIAGNOSIS_TIMES_BATCH : NB_DIAGNOSIS_OVER_BATCH;
}

nb_diagnosis nbi_ratio_says(const nbi_verify *c, size_t n, const double *wrong, const double *right,
                            const double *estimate, double *factor)
{
    double ratio = (double)NAN, slack = 0;
    size_t most = 0, used = 0;
    for (size_t k = 1; k < n; k++)
        if (fabs(right[k]) * estimate[most] > fabs(right[most]) * estimate[k])
            most = k;
    for (size_t k = 0; k < n; k++) {
        const double off = 2 * estimate[k] / fabs(right[k]) + 1e-9 + 10 * c->tol;
        if (!(off < 0.02))
            continue;
        if (used++ == 0)
            ratio = wrong[k] / right[k];
        slack = fmax(slack, off);
    }
    for (size_t k = 0; k < n; k++)
        if (!(fabs(wrong[k] - ratio * right[k]) <=
              fabs(ratio) * (slack * fabs(right[k]) + 2 * estimate[k]) + 2e-9 * fabs(wrong[k])))
            return NB_DIAGNOSIS_NONE;
    if (!used || near(ratio, 1, slack))
        return NB_DIAGNOSIS_NONE;
    *factor = ratio;
    if (ratio == 0)
        return NB_DIAGNOSIS_ZERO;
    const nb_diagnosis d = named(c, ratio, slack);
    return d || used < 2 ? d : NB_DIAGNOSIS_FACTOR;
}

/* ---- other places ---------------------------------------------------------------------------- */

typedef struct wrongs {
    size_t n, at[NB_CHECK_WORST];
    double analytic[NB_CHECK_WORST], numeric[NB_CHECK_WORST], estimate[NB_CHECK_WORST];
} wrongs;

/* Where the derivative that stands at p would belong: of the `size` elements of a block, in matrices
 * of `rows` by `columns`. */
typedef struct move {
    nb_diagnosis says;
    size_t rows, columns;
    int shift;
} move;

static bool moved(const move *m, size_t size, size_t p, size_t *q)
{
    if (m->shift) {
        *q = (p + size + (size_t)m->shift) % size;
        return m->shift > 0 ? p + 1 < size : p > 0;
    }
    const size_t whole = m->rows * m->columns, at = p % whole;
    *q = p - at + at % m->rows * m->columns + at / m->rows;
    return true;
}

/* Whether all of the wrong coordinates are derivatives at the places they were moved from. What noise
 * hides there speaks neither for it nor against it; what is a thousand times nearer there than where
 * it stands is near enough. */
static bool fits(nbi_verify *c, const nbi_block *b, const wrongs *w, const move *m)
{
    size_t told = 0;
    for (size_t k = 0; k < w->n && k < FEW; k++) {
        size_t q;
        nbi_slope s;
        if (!moved(m, b->size, w->at[k] - b->at, &q))
            continue; /* at the edge, where it can hold anything */
        const nbi_line line = {NULL, b->at + q};
        const double start = ldexp(nbi_line_unit(c, &line), -4);
        const double near_enough = 1e-3 * fabs(w->analytic[k] - w->numeric[k]);
        if (!nbi_measure(c, &line, 0, w->analytic[k], start, &s) ||
            (nbi_differs(c, &s, w->analytic[k]) &&
             !(fabs(s.value - w->analytic[k]) <= near_enough)))
            return false;
        told += s.estimate <= near_enough || nbi_resolved(c, &line, &s, w->analytic[k]);
    }
    return told >= 2;
}

static bool tell(nbi_verify *c, const nbi_block *b, const wrongs *w, move m)
{
    if (!fits(c, b, w, &m))
        return false;
    c->r->diagnosis = m.says;
    if (m.shift)
        snprintf(c->r->message, sizeof c->r->message,
                 "what stands at an element is the derivative by the %s one",
                 m.shift > 0 ? "next" : "previous");
    else
        snprintf(c->r->message, sizeof c->r->message,
                 "the gradient is laid out as %zu by %zu instead of %zu by %zu", m.columns, m.rows,
                 m.rows, m.columns);
    return true;
}

static void places(nbi_verify *c, const nbi_block *b, const wrongs *w)
{
    const nb_shape s = b->shape;
    for (int d = 1; d >= -1; d -= 2)
        if (tell(c, b, w, (move){.says = NB_DIAGNOSIS_SHIFTED, .shift = d}))
            return;
    if (s.rank >= 2) {
        tell(c, b, w,
             (move){.says = NB_DIAGNOSIS_TRANSPOSED,
                    .rows = (size_t)s.dims[s.rank - 2],
                    .columns = (size_t)s.dims[s.rank - 1]});
        return;
    }
    for (size_t rows = 2, tried = 0; rows <= b->size / 2 && tried < 8; rows++)
        if (b->size % rows == 0 && ++tried &&
            tell(c, b, w,
                 (move){.says = NB_DIAGNOSIS_TRANSPOSED, .rows = rows, .columns = b->size / rows}))
            return;
}

/* ---- the diagnosis --------------------------------------------------------------------------- */

/* The wrong ones among the worst, of the input of the very worst. */
static wrongs collect(const nbi_verify *c, const nbi_block **block)
{
    wrongs w = {.n = 0};
    *block = NULL;
    for (size_t k = 0; k < c->r->n_worst; k++) {
        const nb_check_coordinate *a = &c->r->worst[k];
        const nbi_block *b = c->product ? NULL : nbi_block_of(c, a->index);
        if (a->verdict != NB_VERDICT_WRONG || (*block && b != *block))
            continue;
        *block = b;
        w.at[w.n] = a->index;
        w.analytic[w.n] = a->analytic;
        w.numeric[w.n] = a->numeric;
        w.estimate[w.n++] = a->estimate;
    }
    return w;
}

void nbi_diagnose(nbi_verify *c)
{
    const nbi_block *b;
    nb_check_report *r = c->r;
    const wrongs w = collect(c, &b);
    if (r->diagnosis != NB_DIAGNOSIS_NONE || !w.n)
        return;
    r->diagnosis = nbi_ratio_says(c, w.n, w.analytic, w.numeric, w.estimate, &r->factor);
    if (r->diagnosis == NB_DIAGNOSIS_NONE && b)
        places(c, b, &w);
}
