/*
 * From differences to a verdict.
 *
 * measure looks for the step that suits the line: while the truncation is what is wrong with the
 * estimate the step is too large, while noise is, too small; steps that grow by squares bracket it, so
 * that a function of 1e-150 x is found as well as one of x. An estimate is resolved when it is small
 * beside the slope, or beside how much the function moves at all.
 *
 * A resolved slope that agrees with the claim is the end of it: right. One that does not is only a
 * suspicion. The ladder then goes down with plain differences, from the step that was used to where
 * noise would hide what the two differ by, and what it sees decides:
 *
 *     the slopes move      the large step saw something that is not at the point: again, from there
 *     a bend stays         a kink, with a slope to either side
 *     a step stays         a jump: there is no limit
 *     all is steady        and another table, at another step, says the same: the claim is wrong,
 *                          unless a node of the graph has a kink here that others hide
 *
 * What is not resolved at any step is too noisy to tell. It never counts against the claim.
 */
#include "check/verify.h"

#include <math.h>

enum { TRIES = 28, ENOUGH = 3, RESTARTS = 4, LADDER = 48 };

/* ---- the step that suits --------------------------------------------------------------------- */

static double larger(double a, double b) { return fmax(fabs(a), fabs(b)); }

double nbi_line_unit(const nbi_verify *c, const nbi_line *line)
{
    return line->v ? 1 : c->unit[line->axis];
}

/* Whether the estimate is small beside what it is to decide. */
bool nbi_resolved(const nbi_verify *c, const nbi_line *line, const nbi_slope *s, double claim)
{
    if (!s->finite || !(s->estimate < (double)INFINITY))
        return false;
    const double apart = line->v ? 1 : fmax(1, fabs(c->x[line->axis]));
    return s->estimate <= fmax(1e-4, 10 * c->tol) * larger(claim, s->value) ||
           (s->spread > 100 * s->sigma && s->estimate <= 100 * c->tol * (s->spread / s->h)) ||
           s->estimate <= c->tol / 10 * (c->most / apart);
}

/* Steps known to be too small and too large, and the next one. */
typedef struct bracket {
    double low, high, stride; /* stride: the exponent of the next leap */
} bracket;

static double next_step(bracket *b, double h, bool small)
{
    if (small)
        b->low = fmax(b->low, h);
    else
        b->high = fmin(b->high, h);
    if (b->low > 0 && isfinite(b->high))
        return sqrt(b->low) * sqrt(b->high);
    const double next = ldexp(h, (int)(small ? b->stride : -b->stride));
    b->stride = fmin(2 * b->stride, 512);
    return next;
}

/* Two tables that exclude one another: the smaller step is nearer to the point. */
static bool apart(const nbi_slope *a, const nbi_slope *b)
{
    return a->finite && b->finite && fabs(a->value - b->value) > a->estimate + b->estimate;
}

static bool measure(nbi_verify *c, const nbi_line *line, size_t j, double claim, double h,
                    double top, nbi_slope *best)
{
    bracket b = {0, top, 4};
    *best = (nbi_slope){.value = (double)NAN, .estimate = (double)INFINITY};
    for (int i = 0; i < TRIES && !c->ended; i++) {
        const nbi_spot spot = c->work.at;
        const double step = nbi_step(c, line, h);
        nbi_samples *s = nbi_take(&c->work, c->m * sizeof *s, NBI_ALIGN);
        if (!s)
            return nbi_check_fail(c, NB_ERR_MEMORY, "no memory for differences");
        bool small = step <= 0;
        if (!small) {
            if (!nbi_sample_line(c, line, step, c->stages, s))
                return false;
            const nbi_slope now = nbi_slope_of(&s[j]);
            const bool astray = now.h > best->h && apart(&now, best);
            if (!astray && (now.estimate < best->estimate || (!best->finite && now.finite) ||
                            apart(&now, best)))
                *best = now;
            small = now.finite && !astray && now.noise > 0.5 * now.estimate;
            h = step;
        }
        nbi_give_back(&c->work, spot);
        if (best->estimate <= c->tol / 4 * larger(claim, best->value) ||
            (i >= ENOUGH && nbi_resolved(c, line, best, claim)))
            break;
        h = next_step(&b, h, small);
        if (!(h > 0x1p-1060 && h < 0x1p1000) || b.high < 2 * b.low)
            break;
    }
    return true;
}

bool nbi_measure(nbi_verify *c, const nbi_line *line, size_t j, double claim, double h,
                 nbi_slope *best)
{
    return measure(c, line, j, claim, h, (double)INFINITY, best);
}

/* ---- the ladder ------------------------------------------------------------------------------ */

typedef enum sight { STEADY, MOVED, BENT, JUMPED, BLIND } sight;

typedef struct rung {
    double h, slope, left, right, step;
} rung;

static bool look(nbi_verify *c, const nbi_line *line, size_t j, double h, rung *to)
{
    if (!nbi_along(c, line, h, c->y))
        return false;
    const double plus = c->y[j];
    if (!nbi_along(c, line, -h, c->y))
        return false;
    const double minus = c->y[j], zero = c->y0[j];
    *to = (rung){.h = h,
                 .slope = (plus - minus) / h / 2,
                 .left = (zero - minus) / h,
                 .right = (plus - zero) / h,
                 .step = plus - minus};
    return true;
}

/* Down from s->h, as long as noise leaves to see what differs by `gap`. `at` is where it ended, or
 * where something moved. False: the check is over. */
static bool climb_down(nbi_verify *c, const nbi_line *line, size_t j, const nbi_slope *s,
                       double gap, sight *seen, rung *at)
{
    rung first = {0}, now;
    int rungs = 0, bent = 0, level = 0;
    double h = 0.7 * s->h;
    const double sigma = s->bend != 0 ? s->rounding : s->sigma; /* a bend passes for noise */
    *seen = STEADY;
    for (int i = 0; i < LADDER; i++, h /= 4) {
        const double step = nbi_step(c, line, h);
        if (step <= 0 || sigma / step > gap / 16)
            break;
        if (!look(c, line, j, step, &now))
            return false;
        if (!rungs++)
            first = now;
        const double bend = fabs(now.right - now.left), was = fabs(first.right - first.left);
        level += fabs(now.step) > 0.6 * fabs(first.step) && now.h < 0.5 * first.h;
        bent += bend > 0.5 * was && bend > gap / 16 && bend > 16 * sigma / step;
        *at = now;
        if (level < rungs - 1 && bent < rungs && fabs(now.slope - s->value) > gap / 4) {
            *seen = MOVED;
            return true;
        }
        if (s->bend != 0 && bent < rungs && level < rungs - 1) { /* the kink is beside the point */
            *seen = MOVED;
            return true;
        }
    }
    if (!rungs)
        *seen = BLIND;
    else if (rungs >= 3 && level == rungs - 1)
        *seen = JUMPED;
    else if (bent == rungs && rungs >= 2)
        *seen = BENT;
    return true;
}

/* Whether the values to the two sides differ by the same however near they are. */
static bool jumps(nbi_verify *c, const nbi_line *line, size_t j, bool *yes)
{
    rung now, before = {0};
    const double unit = nbi_line_unit(c, line);
    int same = 0;
    for (int i = 1; i <= 4; i++) {
        const double h = nbi_step(c, line, ldexp(unit, -8 * i));
        if (h <= 0)
            break;
        if (!look(c, line, j, h, &now))
            return false;
        const double step = fabs(now.step), off = fabs(step - fabs(before.step));
        same += i > 1 && off < 0.1 * step && step > 1e4 * c->eps * fabs(c->y0[j]) &&
                (now.step > 0) == (before.step > 0);
        before = now;
    }
    *yes = same >= 2;
    return true;
}

/* ---- the verdict ----------------------------------------------------------------------------- */

bool nbi_differs(const nbi_verify *c, const nbi_slope *s, double claim)
{
    return fabs(claim - s->value) > c->tol * larger(claim, s->value) + 2 * s->estimate;
}

static void figures(nb_check_coordinate *to, const nbi_slope *s)
{
    to->numeric = s->value;
    to->estimate = s->estimate;
    to->error = fabs(to->analytic - s->value);
    to->step = s->h;
}

static void kink(nbi_verify *c, const nbi_line *line, const nbi_slope *s, nb_check_coordinate *to,
                 double h)
{
    const double low = fmin(s->left, s->right), high = fmax(s->left, s->right);
    const double slack = 1e-3 * (high - low) + c->tol * larger(low, high);
    to->verdict = NB_VERDICT_KINK;
    to->left = s->left;
    to->right = s->right;
    to->between = to->analytic >= low - slack && to->analytic <= high + slack;
    if (c->s->bend && !to->at.found)
        c->s->bend(c, line, h, &to->at);
}

static void jumped(nbi_verify *c, const nbi_line *line, nb_check_coordinate *to, double h)
{
    to->verdict = NB_VERDICT_STEP;
    if (c->s->bend)
        c->s->bend(c, line, h, &to->at);
}

/* Another table at another step: does it too exclude the claim, and agree with the first? */
static bool confirmed(nbi_verify *c, const nbi_line *line, size_t j, const nbi_slope *s,
                      double claim, bool *yes)
{
    const nbi_spot spot = c->work.at;
    const double h = nbi_step(c, line, 0.61 * s->h);
    nbi_samples *again = nbi_take(&c->work, c->m * sizeof *again, NBI_ALIGN);
    if (!again)
        return nbi_check_fail(c, NB_ERR_MEMORY, "no memory for differences");
    *yes = false;
    if (h > 0) {
        if (!nbi_sample_line(c, line, h, c->stages, again))
            return false;
        const nbi_slope other = nbi_slope_of(&again[j]);
        const double gap = fabs(claim - s->value);
        *yes = other.finite && fabs(other.value - s->value) < gap / 4 && other.estimate < gap / 2;
    }
    nbi_give_back(&c->work, spot);
    return true;
}

static bool suspicion(nbi_verify *c, const nbi_line *line, size_t j, const nbi_slope *s,
                      nb_check_coordinate *to, double *from)
{
    sight seen;
    rung at = {0};
    bool yes = false;
    const bool off = nbi_differs(c, s, to->analytic);
    const double gap = off ? fabs(to->analytic - s->value) : fabs(s->bend);
    if (!climb_down(c, line, j, s, gap, &seen, &at))
        return false;
    *from = seen == MOVED ? at.h : 0;
    to->verdict = NB_VERDICT_NOISY;
    if (seen == JUMPED) {
        jumped(c, line, to, at.h);
    } else if (seen == BENT) {
        kink(c, line, s, to, at.h);
    } else if (seen == STEADY && off) {
        if (!confirmed(c, line, j, s, to->analytic, &yes))
            return false;
        if (yes && c->s->bend)
            c->s->bend(c, line, at.h, &to->at);
        if (to->at.found)
            kink(c, line, s, to, at.h);
        else if (yes)
            to->verdict = NB_VERDICT_WRONG;
    } else if (seen == STEADY || seen == BLIND) {
        to->verdict =
            !off && nbi_resolved(c, line, s, to->analytic) ? NB_VERDICT_RIGHT : NB_VERDICT_NOISY;
    }
    return true;
}

bool nbi_judge(nbi_verify *c, const nbi_line *line, size_t j, double claim, nb_check_coordinate *to)
{
    nbi_slope s;
    const size_t before = c->r->evaluations;
    double from = nbi_line_unit(c, line) * ldexp(0.75 + nb_rng_uniform(&c->rng) / 2, -4);
    double top = (double)INFINITY;
    bool agreed = false, jump = false;
    to->analytic = claim;
    to->left = to->right = to->numeric = to->estimate = to->error = (double)NAN;
    to->verdict = NB_VERDICT_NOT_FINITE;
    for (int i = 0; isfinite(claim) && i < RESTARTS && from > 0; i++, top = from) {
        if (!measure(c, line, j, claim, from, top, &s))
            return false;
        from = 0;
        const bool good = nbi_resolved(c, line, &s, claim), off = nbi_differs(c, &s, claim);
        if (i == 0 || good)
            figures(to, &s);
        agreed = agreed || (good && !off);
        to->verdict = !s.finite      ? NB_VERDICT_NOT_FINITE
                      : good && !off ? NB_VERDICT_RIGHT
                                     : NB_VERDICT_NOISY;
        if (s.finite && (!good || s.sigma > 1e3 * s.rounding) && !jumps(c, line, j, &jump))
            return false;
        if (jump)
            jumped(c, line, to, ldexp(nbi_line_unit(c, line), -24));
        else if (s.finite && (s.bend != 0 || (good && off)) &&
                 !suspicion(c, line, j, &s, to, &from))
            return false;
    }
    if (to->verdict == NB_VERDICT_NOISY && agreed)
        to->verdict = NB_VERDICT_RIGHT;
    to->evaluations = (int)(c->r->evaluations - before);
    return true;
}
