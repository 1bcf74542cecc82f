/*
 * The step that suits a line.
 *
 * While truncation is what is wrong with a table's estimate the step is too large; while noise is, too
 * small. Steps that grow by squares bracket the right one, so that a function of 1e-150 x is found as
 * well as one of x. An estimate is resolved when it is small beside the slope, or beside how much the
 * function moves at all.
 *
 * What passes for noise need not be any, and samples may look smooth by conspiracy. So the search
 * holds what a table says against three things that it may find out about phi:
 *
 *     twitch   how much of noise there is right at the point. More than that, in a table, is
 *              structure, which smaller steps resolve: a far step sees a bounded function as noise
 *     grain    where phi does not move at all, though by the claim it should: the least by which it
 *              ever moves. A function that is rounded has a grain, and no table can see below it; one
 *              that is flat and continuous has none
 *     doubt    over a step so small that by the slope found phi moves by a few roundings, whatever
 *              else it does is noise that the table has missed
 */
#include "check/verify.h"

#include <math.h>

enum { TRIES = 28, ENOUGH = 3, GRAIN = 24 };

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
    /* beside the value, only what is lost in it or stands out of the error can be called right */
    const double size = c->most / apart;
    return (s->mute && claim == 0) ||
           s->estimate <= fmax(1e-4, 10 * c->tol) * larger(claim, s->value) ||
           (s->spread > 100 * s->sigma && s->estimate <= 100 * c->tol * (s->spread / s->h)) ||
           (s->estimate <= c->tol / 10 * size &&
            (fabs(claim) <= c->eps * size || fabs(claim) > s->estimate));
}

bool nbi_differs(const nbi_verify *c, const nbi_slope *s, double claim)
{
    return fabs(claim - s->value) > c->tol * larger(claim, s->value) + 2 * s->estimate;
}

bool nbi_look(nbi_verify *c, const nbi_line *line, size_t j, double h, nbi_rung *to)
{
    if (!nbi_along(c, line, h, c->y))
        return false;
    const double plus = c->y[j];
    if (!nbi_along(c, line, -h, c->y))
        return false;
    const double minus = c->y[j], zero = c->y0[j];
    *to = (nbi_rung){.h = h,
                     .slope = (plus - minus) / h / 2,
                     .left = (zero - minus) / h,
                     .right = (plus - zero) / h,
                     .step = plus - minus,
                     .even = (plus - zero) / 2 + (minus - zero) / 2,
                     .most = fmax(fabs(zero), larger(plus, minus)),
                     .mute = plus == zero && minus == zero};
    return true;
}

/* A search for the step: the line, the best table so far, and steps known to be too small and too
 * large. */
typedef struct search {
    nbi_verify *c;
    const nbi_line *line;
    size_t j;
    double claim;
    double expected; /* the size of slope that an unmoved phi is held against */
    nbi_slope best;
    double low, high, stride; /* stride: the exponent of the next leap */
    double floor;             /* noise that smaller steps have shown */
    double mute, moving;    /* the largest step at which nothing moved, the smallest where something
                               * did; 0, infinity: none */
    bool grained, twitched; /* the least that phi moves by, and its noise at the point, are known,
                               * and in the floor */
    bool rough;             /* the best table shows structure besides noise */
    nbi_slope flat;         /* the largest table in which nothing moved */
} search;

static double next_step(search *q, double h, bool small)
{
    if (small)
        q->low = fmax(q->low, h);
    else
        q->high = fmin(q->high, h);
    if (q->low > 0 && isfinite(q->high))
        return sqrt(q->low) * sqrt(q->high);
    const double next = ldexp(h, (int)(small ? q->stride : -q->stride));
    q->stride = fmin(2 * q->stride, 512);
    return next;
}

/* Two tables that exclude one another: the smaller step is nearer to the point. */
static bool apart(const nbi_slope *a, const nbi_slope *b)
{
    return a->finite && b->finite && fabs(a->value - b->value) > a->estimate + b->estimate;
}

static bool table(search *q, double h, nbi_slope *now)
{
    nbi_verify *c = q->c;
    const nbi_spot spot = c->work.at;
    nbi_samples *s = nbi_take(&c->work, c->m * sizeof *s, NBI_ALIGN);
    if (!s)
        return nbi_check_fail(c, NB_ERR_MEMORY, "no memory for differences");
    const bool done = nbi_sample_line(c, q->line, h, c->stages, s);
    if (done)
        *now = nbi_slope_of(&s[q->j], q->floor);
    nbi_give_back(&c->work, spot);
    return done;
}

/* How much phi moves over h. */
static bool change(search *q, double h, double *by)
{
    nbi_verify *c = q->c;
    h = nbi_step(c, q->line, h);
    *by = 0;
    for (int side = -1; side <= 1 && h > 0; side += 2) {
        if (!nbi_along(c, q->line, side * h, c->y))
            return false;
        *by = fmax(*by, fabs(c->y[q->j] - c->y0[q->j]));
    }
    return true;
}

/* The noise of phi right at the point: its even half over the least of steps, where a slope has none. */
static bool twitch(search *q)
{
    nbi_verify *c = q->c;
    const double x = q->line->v ? 1 : fabs(c->x[q->line->axis]);
    const double h = x > 0 ? ldexp(x, c->single ? -16 : -44) : 0x1p-1000;
    q->twitched = true;
    for (int i = 1; i <= 3; i += 2) {
        nbi_rung r;
        const double step = nbi_step(c, q->line, i * h);
        if (step <= 0)
            break;
        if (!nbi_look(c, q->line, q->j, step, &r))
            return false;
        q->floor = fmax(q->floor, fabs(r.even));
    }
    return true;
}

/* What the step of a table is: too small if noise is what is wrong with it. But what the even half
 * misses by is noise only if the function has as much of it at the point; else it is structure, which
 * smaller steps resolve. */
static bool too_small(search *q, const nbi_slope *now, bool *small, bool *structure)
{
    const double truncation = now->estimate - now->noise;
    *small = now->noise > 0.5 * now->estimate;
    *structure = !*small && truncation > 0.1 * (now->spread / now->h);
    if (*structure || now->sigma <= 8 * now->rounding ||
        now->estimate <= q->c->tol / 4 * fabs(now->value))
        return true;
    if (!q->twitched && !twitch(q))
        return false;
    *structure = now->sigma > 32 * fmax(q->floor, now->rounding);
    *small = *small && !*structure;
    return true;
}

/* Between a step at which nothing moves and one at which something does: the least change there is. A
 * continuous function has one as small as the search is long, one that is rounded to a grain that grain,
 * which then is its noise. */
static bool find_grain(search *q)
{
    double low = q->mute, high = q->moving, by, least = (double)INFINITY;
    for (int i = 0; i < GRAIN && high > low * (1 + 0x1p-40); i++) {
        const double mid = i < GRAIN / 2 ? sqrt(low) * sqrt(high) : low + (high - low) / 2;
        if (!change(q, mid, &by))
            return false;
        *(by > 0 ? &high : &low) = mid;
        least = by > 0 ? fmin(least, by) : least;
    }
    if (isinf(least) && !change(q, high, &least))
        return false;
    q->floor = fmax(q->floor, least);
    q->grained = true;
    return true;
}

/* Nothing moved, and by the claim something should. Either it is too little to be seen, and the step
 * too small, or the function is flat here: then `*flat`. */
static bool hear(search *q, const nbi_slope *now, bool *flat)
{
    q->mute = fmax(q->mute, now->h);
    if (!q->flat.finite || now->h > q->flat.h)
        q->flat = *now;
    *flat = false;
    if (isinf(q->moving) || q->grained)
        return true;
    if (!find_grain(q))
        return false;
    q->high = (double)INFINITY;
    q->stride = 4;
    *flat = q->expected * q->mute > 64 * q->floor;
    return true;
}

/* Noise that has shown since makes the best table worse than it looked. */
static void lower(search *q)
{
    nbi_slope *best = &q->best;
    if (!best->finite || q->floor <= best->sigma)
        return;
    best->estimate += best->noise * (q->floor / best->sigma - 1);
    best->noise *= q->floor / best->sigma;
    best->sigma = q->floor;
}

/* Samples may conspire: a function that is rounded to a grain can look smooth. Over a step so small that
 * by the slope found it moves a few units of rounding, all else that it does is noise. */
static bool doubt(search *q)
{
    double by;
    const nbi_slope *best = &q->best;
    const double h = 256 * best->rounding / fabs(best->value);
    if (q->grained || !(h < ldexp(best->h, -8)) || nbi_step(q->c, q->line, h) <= 0)
        return true;
    if (!change(q, h, &by))
        return false;
    if (by == 0) {
        q->mute = h;
        q->moving = best->h;
        if (!find_grain(q))
            return false;
    } else if (by > 2 * 256 * best->rounding) {
        if (!q->twitched && !twitch(q))
            return false;
        const bool scaled = q->line->v || q->c->x[q->line->axis] != 0;
        if (!scaled && by > 32 * q->floor) /* nor is it noise: all of this was seen from too far */
            q->best.estimate = fmax(q->best.estimate, fmax(by / h, q->expected));
        q->floor = fmax(q->floor, by);
    }
    lower(q);
    return true;
}

static void keep_better(search *q, const nbi_slope *now, bool structure)
{
    nbi_slope *best = &q->best;
    lower(q);
    const bool nearer = now->h < best->h, excludes = apart(now, best);
    bool better = now->estimate < best->estimate || (excludes && nearer);
    if (best->finite && structure != q->rough)
        better = nearer && (q->rough || better);
    else if (excludes && !nearer)
        better = false;
    if (better || (!best->finite && now->finite)) {
        *best = *now;
        q->rough = structure;
    }
}

/* What a table teaches; `*done`: there is no more to learn. */
static bool learn(search *q, nbi_slope *now, bool *small, bool *done)
{
    bool structure = false;
    *small = false;
    *done = false;
    if (now->mute && q->expected != 0) {
        *small = true;
        return hear(q, now, done);
    }
    if (now->finite) {
        q->moving = now->mute ? q->moving : fmin(q->moving, now->h);
        q->expected = fmax(q->expected, now->spread / now->h);
        if (!too_small(q, now, small, &structure))
            return false;
        if (structure) /* and then the estimate is not to be trusted */
            now->estimate =
                fmax(fmax(now->estimate, now->spread / now->h), fmax(q->c->most, q->expected));
        keep_better(q, now, structure);
        if (*small)
            q->floor = fmax(q->floor, now->sigma);
    }
    *done = now->mute;
    return true;
}

/* Whether a search that found this much may end. */
static bool enough(const search *q, int tables)
{
    const nbi_slope *best = &q->best;
    return best->estimate <= q->c->tol / 4 * larger(q->claim, best->value) ||
           (tables > ENOUGH && !q->rough && nbi_resolved(q->c, q->line, best, q->claim));
}

bool nbi_search(nbi_verify *c, const nbi_line *line, size_t j, double claim, double before,
                double h, double top, nbi_slope *best)
{
    search q = {.c = c, .line = line, .j = j, .claim = claim, .high = top, .stride = 4};
    const double far = 0x1p10 * (line->v ? 1 : fmax(1, c->unit[line->axis]));
    q.expected = larger(claim, before);
    bool done = false;
    q.moving = (double)INFINITY;
    q.best = (nbi_slope){.value = (double)NAN, .estimate = (double)INFINITY};
    for (int i = 0; i < TRIES && !c->ended && !done; i++) {
        bool small = true;
        const double step = nbi_step(c, line, h);
        if (step > 0) {
            nbi_slope now;
            h = step;
            if (!table(&q, h, &now) || !learn(&q, &now, &small, &done))
                return false;
        }
        done = done || enough(&q, i + 1);
        h = next_step(&q, h, small);
        h = h > far && q.low < far / 2 ? far : h;
        done = done || !(h > 0x1p-1060 && h <= far) || q.high < 2 * q.low;
    }
    const bool flat = q.flat.finite && (!q.best.finite || q.flat.h * q.expected > 64 * q.floor) &&
                      (q.grained || (isinf(q.moving) && isinf(top)));
    if (flat) {
        q.best = q.flat;
        q.best.sigma = fmax(q.floor, q.flat.rounding);
        q.best.estimate = q.best.noise = 4 * q.best.sigma / q.flat.h;
    }
    if (q.best.finite && !flat && !doubt(&q))
        return false;
    *best = q.best;
    return true;
}

bool nbi_measure(nbi_verify *c, const nbi_line *line, size_t j, double claim, double h,
                 nbi_slope *best)
{
    return nbi_search(c, line, j, claim, 0, h, (double)INFINITY, best);
}
