/*
 * Purity, and directions through all inputs at once.
 *
 * Differences of a function mean nothing if it is not one: value and claim are computed twice at the
 * point, and once more after the function was evaluated elsewhere, and compared bit by bit. A
 * gradient that is another one then was computed from what the last evaluation left behind.
 *
 * Along a random direction v, every input moving by a part of its own size, one table of differences
 * tests a sum over all coordinates, <g, v>. The remainders
 *
 *     f(x + h v) - f(x) - h <g, v>                       ~ h^2
 *     f(x + h v) - f(x) - h/2 <g(x) + g(x + h v), v>     ~ h^3
 *
 * show by their rates that f and g belong together. Where a direction objects, halving it finds a
 * coordinate that is to blame; that one is left out, and what remains asked again.
 */
#include "check/verify.h"

#include <math.h>
#include <string.h>

enum { FIRST = 4, FURTHER = 3, HALVING = 3 }; /* stages of tables */

/* ---- purity ---------------------------------------------------------------------------------- */

static bool same(size_t n, const double *a, const double *b)
{
    return !n || memcmp(a, b, n * sizeof *a) == 0;
}

static size_t wide(const nbi_verify *c) { return c->product ? c->m : c->n; }

static bool impure(nbi_verify *c, bool gradient, bool stale)
{
    c->r->verdict = NB_VERDICT_IMPURE;
    c->r->gradient_impure = gradient;
    if (stale)
        c->r->diagnosis = NB_DIAGNOSIS_STALE;
    c->ended = true;
    return false;
}

bool nbi_purity(nbi_verify *c)
{
    const bool swept = c->s->swept;
    if ((!swept && !nbi_evaluate(c, c->y0)) || !nbi_claim(c, swept ? c->y0 : NULL, c->claim) ||
        (!swept && !nbi_evaluate(c, c->y)) || !nbi_claim(c, swept ? c->y : NULL, c->again))
        return false;
    if (!same(c->m, c->y0, c->y))
        return impure(c, false, false);
    if (!same(wide(c), c->claim, c->again))
        return impure(c, true, false);
    for (size_t j = 0; j < c->m; j++) {
        c->most = fmax(c->most, fabs(c->y0[j]));
        if (isfinite(c->y0[j]))
            continue;
        c->r->verdict = NB_VERDICT_NOT_FINITE;
        if (c->s->not_finite)
            c->s->not_finite(c, c->x, false, &c->r->at);
        return false;
    }
    return true;
}

bool nbi_pure_after(nbi_verify *c)
{
    if (!nbi_claim(c, c->s->swept ? c->y : NULL, c->again))
        return false;
    if (!same(wide(c), c->claim, c->again))
        return impure(c, true, true);
    if (!c->s->swept && !nbi_evaluate(c, c->y))
        return false;
    return same(c->m, c->y0, c->y) || impure(c, false, false);
}

/* ---- directions ------------------------------------------------------------------------------ */

static double inner(size_t n, const double *a, const double *b)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += b[i] != 0 ? a[i] * b[i] : 0;
    return sum;
}

static double *random_direction(nbi_verify *c)
{
    double *v = nbi_doubles(c, c->n);
    for (size_t i = 0; v && i < c->n; i++) {
        const double u = nb_rng_uniform(&c->rng) - 0.5;
        v[i] = (u + copysign(0.5, u)) * c->unit[i];
    }
    return v;
}

/* log2 of the ratio of remainders at h and h/2, if both are more than noise. */
static double rate(double large, double small, double noise)
{
    const double r = log2(fabs(large) / fabs(small));
    return fabs(small) > 100 * noise && isfinite(r) ? r : (double)NAN;
}

static double remainder_at(const nbi_samples *s, int i, double slope)
{
    return s->plus[i] - s->zero - ldexp(s->h, -i) * slope;
}

/* The rate with the gradient's own change: from the Hessian where there is one, else from the
 * gradient at the far ends. */
static bool third(nbi_verify *c, const double *v, const nbi_samples *s, const nbi_slope *slope,
                  nb_check_direction *d)
{
    double left[2], vhv;
    const nbi_line line = {v, 0};
    if (c->s->curvature) {
        if (!c->s->curvature(c, v, &vhv))
            return false;
        for (int i = 0; i < 2; i++)
            left[i] = remainder_at(s, i, d->analytic + ldexp(s->h, -i) / 2 * vhv);
    } else {
        for (int i = 0; i < 2; i++) {
            nbi_go(c, &line, ldexp(s->h, -i));
            const bool done = nbi_claim(c, c->s->swept ? c->y : NULL, c->again);
            nbi_go(c, &line, 0);
            if (!done)
                return false;
            left[i] = remainder_at(s, i, d->analytic / 2 + inner(c->n, c->again, v) / 2);
        }
    }
    d->rate_three = rate(left[0], left[1], slope->sigma);
    return true;
}

static bool direction(nbi_verify *c, int k)
{
    nbi_samples s;
    double *v = c->direction[k] = random_direction(c);
    if (!v)
        return false;
    const nbi_line line = {v, 0};
    nb_check_direction *d = &c->r->direction[k];
    *d = (nb_check_direction){.analytic = inner(c->n, c->claim, v),
                              .numeric = (double)NAN,
                              .estimate = (double)NAN,
                              .rate_two = (double)NAN,
                              .rate_three = (double)NAN,
                              .forward = (double)NAN};
    c->r->n_directions = (size_t)k + 1;
    if (!isfinite(d->analytic)) {
        d->verdict = NB_VERDICT_NOT_FINITE;
        return true;
    }
    const double h = ldexp(0.75 + nb_rng_uniform(&c->rng) / 2, c->single ? -3 : -5);
    if (!nbi_sample_line(c, &line, h, k ? FURTHER : FIRST, &s))
        return false;
    nbi_slope slope = nbi_slope_of(&s, 0);
    d->rate_two =
        rate(remainder_at(&s, 0, d->analytic), remainder_at(&s, 1, d->analytic), slope.sigma);
    if (k == 0 && slope.finite && !third(c, v, &s, &slope, d))
        return false;
    if (c->s->forward && !c->s->forward(c, v, &d->forward))
        return false;
    if (nbi_resolved(c, &line, &slope, d->analytic) && slope.bend == 0 &&
        !nbi_differs(c, &slope, d->analytic)) {
        d->verdict = NB_VERDICT_RIGHT;
        d->numeric = slope.value;
        d->estimate = slope.estimate;
        return true;
    }
    nb_check_coordinate a = {.at = {.operand = -1}};
    const bool done = nbi_judge(c, &line, 0, d->analytic, &a);
    d->verdict = a.verdict;
    d->numeric = a.numeric;
    d->estimate = a.estimate;
    return done;
}

bool nbi_screen(nbi_verify *c)
{
    for (int k = 0; k < c->o.directions && c->n; k++)
        if (!direction(c, k))
            return false;
    return true;
}

/* ---- suspects -------------------------------------------------------------------------------- */

/* By how much claim and differences differ along v; 0 if they do not. */
static bool excess(nbi_verify *c, const double *v, double *to)
{
    nbi_slope s;
    const nbi_line line = {v, 0};
    const double claim = inner(c->n, c->claim, v);
    if (!nbi_measure(c, &line, 0, claim, 0x1p-5, &s))
        return false;
    *to = s.finite && nbi_differs(c, &s, claim) ? claim - s.value : 0;
    return true;
}

/* Halves v, of which `whole` is the excess, down to one coordinate. */
static bool halve(nbi_verify *c, const double *v, double *part, double whole, size_t *found)
{
    size_t low = 0, high = c->n;
    while (high - low > 1) {
        double left;
        const size_t mid = low + (high - low) / 2;
        for (size_t i = 0; i < c->n; i++)
            part[i] = i >= low && i < mid ? v[i] : 0;
        if (!excess(c, part, &left))
            return false;
        const bool to_left = fabs(left) > fabs(whole - left);
        *(to_left ? &high : &low) = mid;
        whole = to_left ? left : whole - left;
    }
    *found = low;
    return true;
}

static bool accuse(nbi_verify *c, const double *direction, size_t *list, size_t *count, size_t room)
{
    double *v = nbi_doubles(c, c->n), *part = nbi_doubles(c, c->n), whole;
    if (!v || !part)
        return false;
    memcpy(v, direction, c->n * sizeof *v);
    /* the bound is for noise, which goes on to object when all that is wrong has been found */
    for (size_t tries = 0; tries < c->o.suspects && *count < room; tries++) {
        size_t found, k = 0;
        if (!excess(c, v, &whole))
            return false;
        if (whole == 0)
            break;
        if (!halve(c, v, part, whole, &found))
            return false;
        v[found] = 0;
        while (k < *count && list[k] != found)
            k++;
        if (k == *count)
            list[(*count)++] = found;
    }
    return true;
}

bool nbi_suspects(nbi_verify *c, size_t *list, size_t *count, size_t room)
{
    bool done = true;
    const int stages = c->stages;
    c->stages = HALVING;
    for (size_t k = 0; k < c->r->n_directions && done && *count < room; k++)
        if (c->r->direction[k].verdict == NB_VERDICT_WRONG)
            done = accuse(c, c->direction[k], list, count, room);
    c->stages = stages;
    return done;
}
