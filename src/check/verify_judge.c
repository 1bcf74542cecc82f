/*
 * From differences to a verdict.
 *
 * A resolved slope (verify_search.c) that agrees with the claim is the end of it: right. One that does
 * not is only a suspicion. The ladder then goes down with plain differences, from the step that was
 * used to where noise would hide what the two differ by, and what it sees decides:
 *
 *     the slopes move      the large step saw something that is not at the point: again, from there
 *     a bend stays         a kink, with a slope to either side
 *     a step stays         a jump: there is no limit
 *     all is steady        and another table, at another step, says the same: the claim is wrong,
 *                          unless a node of the graph has a kink here that others hide, or longer
 *                          steps agree with the claim and what they overlook is of rounding's size,
 *                          or the shortest ones agree and longer ones see what they do as noise
 *
 * What is not resolved at any step is too noisy to tell. It never counts against the claim.
 */
#include "check/verify.h"

#include <float.h>
#include <math.h>

enum { RESTARTS = 4, LADDER = 48, AFAR = 3, NEAR = 3, NEAREST = 16, JUMPS = 5 };

static double larger(double a, double b) { return fmax(fabs(a), fabs(b)); }

/* ---- the ladder ------------------------------------------------------------------------------ */

typedef enum sight { STEADY, MOVED, BENT, JUMPED, BLIND } sight;

/* Down from s->h, as long as noise leaves to see what differs by `gap`. `at` is where it ended, or
 * where something moved. False: the check is over. */
static bool climb_down(nbi_verify *c, const nbi_line *line, size_t j, const nbi_slope *s,
                       double gap, sight *seen, nbi_rung *at)
{
    nbi_rung first = {0}, now;
    int rungs = 0, bent = 0, level = 0;
    double h = 0.7 * s->h;
    bool before = false;
    /* a bend passes for noise; rounding is less where the values are less */
    const bool exact = !line->v && (s->bend != 0 || s->sigma <= 8 * s->rounding);
    double sigma = s->bend != 0 ? s->rounding : s->sigma;
    for (int i = 0; i < LADDER; i++, h = ldexp(h, i < 12 ? -2 : 20 - 2 * i)) {
        const double step = nbi_step(c, line, h);
        if (step <= 0 || (!exact && sigma / step > gap / 64))
            break;
        if (!nbi_look(c, line, j, step, &now))
            return false;
        if (exact)
            sigma = fmin(sigma, 8 * c->eps * now.most + 0x1p-1074);
        if (sigma / step > gap / 64)
            break;
        if (!rungs++)
            first = now;
        const double bend = fabs(now.right - now.left), was = fabs(first.right - first.left);
        level += fabs(now.step) > 0.6 * fabs(first.step) && now.h < 0.5 * first.h;
        bent += bend > 0.5 * was && bend > gap / 16 && bend > 16 * sigma / step;
        const bool off = fabs(now.slope - s->value) > gap / 4 || (s->bend != 0 && bent < rungs);
        if (!off || !before ||
            (now.mute && !at->mute)) /* where the last stretch of rungs that are off begins */
            *at = now;
        before = off;
    }
    *seen = !rungs                             ? BLIND
            : rungs >= 3 && level == rungs - 1 ? JUMPED
            : rungs >= 2 && bent == rungs      ? BENT
            : before                           ? MOVED
                                               : STEADY;
    return true;
}

/* Whether the values to the two sides differ by the same however near they are. */
static bool jumps(nbi_verify *c, const nbi_line *line, size_t j, bool *yes)
{
    nbi_rung now, before = {0};
    const double unit = nbi_line_unit(c, line);
    int same = 0;
    for (int i = 1; i <= JUMPS; i++) {
        const double h = nbi_step(c, line, ldexp(unit, -8 * i));
        if (h <= 0)
            break;
        if (!nbi_look(c, line, j, h, &now))
            return false;
        const double step = fabs(now.step), off = fabs(step - fabs(before.step));
        const bool whole = step > 0.5 * h * fmax(fabs(now.left), fabs(now.right));
        const bool again = i > 1 && whole && off < 0.1 * step &&
                           step > 1e4 * c->eps * fabs(c->y0[j]) &&
                           (now.step > 0) == (before.step > 0);
        same = again ? same + 1 : 0;
        before = now;
    }
    *yes = same >= 2;
    return true;
}

/* ---- the verdict ----------------------------------------------------------------------------- */

static void figures(nb_check_coordinate *to, const nbi_slope *s)
{
    to->numeric = s->value;
    to->estimate = s->estimate;
    to->error = fabs(to->analytic - s->value);
    to->step = s->h;
}

/* The slopes to the two sides, with the curvature taken out, where two steps in a row agree best on
 * them. Steps that see another bend than the table, which was taken at the point, see too much. */
static bool sides(nbi_verify *c, const nbi_line *line, size_t j, const nbi_slope *s,
                  nb_check_coordinate *to)
{
    nbi_rung whole, half;
    double best = (double)INFINITY, left = (double)NAN, right = (double)NAN;
    to->left = s->left;
    to->right = s->right;
    for (double h = ldexp(nbi_line_unit(c, line), -4); h >= s->h / 8; h /= 8) {
        const double step = nbi_step(c, line, h), part = nbi_step(c, line, h / 2);
        if (step <= 0 || part <= 0)
            break;
        if (!nbi_look(c, line, j, step, &whole) || !nbi_look(c, line, j, part, &half))
            return false;
        const double l = 2 * half.left - whole.left, r = 2 * half.right - whole.right;
        const double change = fabs(l - left) + fabs(r - right);
        if (change < best && fabs(r - l - s->bend) <= 0.02 * fabs(s->bend)) {
            best = change;
            to->left = l;
            to->right = r;
        }
        left = l;
        right = r;
    }
    return true;
}

static bool kink(nbi_verify *c, const nbi_line *line, size_t j, const nbi_slope *s,
                 nb_check_coordinate *to, double h)
{
    if (!sides(c, line, j, s, to))
        return false;
    const double low = fmin(to->left, to->right), high = fmax(to->left, to->right);
    const double slack = 1e-3 * (high - low) + c->tol * larger(low, high);
    to->verdict = NB_VERDICT_KINK;
    to->between = to->analytic >= low - slack && to->analytic <= high + slack;
    if (c->s->bend && !to->at.found)
        c->s->bend(c, line, h, &to->at);
    return true;
}

static void jumped(nbi_verify *c, const nbi_line *line, nb_check_coordinate *to, double h)
{
    to->verdict = NB_VERDICT_STEP;
    if (c->s->bend)
        c->s->bend(c, line, h, &to->at);
}

static bool table(nbi_verify *c, const nbi_line *line, size_t j, double h, nbi_slope *now)
{
    const nbi_spot spot = c->work.at;
    nbi_samples *s = nbi_take(&c->work, c->m * sizeof *s, NBI_ALIGN);
    if (!s)
        return nbi_check_fail(c, NB_ERR_MEMORY, "no memory for differences");
    const bool done = nbi_sample_line(c, line, h, c->stages, s);
    if (done)
        *now = nbi_slope_of(&s[j], 0);
    nbi_give_back(&c->work, spot);
    return done;
}

/* Another table at another step: does it too exclude the claim, and agree with the first? */
static bool confirmed(nbi_verify *c, const nbi_line *line, size_t j, const nbi_slope *s,
                      double claim, bool *yes)
{
    nbi_slope other;
    const double h = nbi_step(c, line, 0.61 * s->h), gap = fabs(claim - s->value);
    *yes = false;
    if (h <= 0)
        return true;
    if (!table(c, line, j, h, &other))
        return false;
    *yes = other.finite && fabs(other.value - s->value) < gap / 4 && other.estimate < gap / 2;
    return true;
}

static bool suspicion(nbi_verify *c, const nbi_line *line, size_t j, const nbi_slope *s,
                      nb_check_coordinate *to, double *from, double *top)
{
    sight seen;
    nbi_rung at = {0};
    bool yes = false;
    const bool off = nbi_differs(c, s, to->analytic);
    const double gap = off ? fabs(to->analytic - s->value) : fabs(s->bend);
    if (!climb_down(c, line, j, s, gap, &seen, &at))
        return false;
    *from = seen == MOVED ? at.h : 0;
    *top = at.mute ? (double)INFINITY : at.h; /* what is not moved tells nothing of larger steps */
    to->verdict = NB_VERDICT_NOISY;
    if (seen == JUMPED) {
        jumped(c, line, to, at.h);
    } else if (seen == BENT) {
        return kink(c, line, j, s, to, at.h);
    } else if (seen == STEADY && off) {
        if (!confirmed(c, line, j, s, to->analytic, &yes))
            return false;
        if (yes && c->s->bend)
            c->s->bend(c, line, at.h, &to->at);
        if (to->at.found)
            return kink(c, line, j, s, to, at.h);
        if (yes)
            to->verdict = NB_VERDICT_WRONG;
    } else if (seen == STEADY || seen == BLIND) {
        to->verdict =
            !off && nbi_resolved(c, line, s, to->analytic) ? NB_VERDICT_RIGHT : NB_VERDICT_NOISY;
    }
    return true;
}

/* A search that ended in noise went to smaller steps because it took for structure what may be noise
 * that is still at the point itself: many inputs, each rounded inside. So the first steps are taken at
 * their word, and the claim is held against them as against any other. */
static bool think_again(nbi_verify *c, const nbi_line *line, size_t j, nbi_slope *s,
                        nb_check_coordinate *to)
{
    double from, top;
    for (int i = 5; i <= 11; i += 3) {
        nbi_slope now;
        const double h = nbi_step(c, line, ldexp(nbi_line_unit(c, line), -i));
        if (h <= 0)
            break;
        if (!table(c, line, j, h, &now))
            return false;
        if (!now.finite || now.mute || !nbi_resolved(c, line, &now, to->analytic) ||
            !nbi_differs(c, &now, to->analytic))
            continue;
        *s = now;
        figures(to, s);
        return suspicion(c, line, j, s, to, &from, &top);
    }
    return true;
}

/* Whether longer steps agree with the claim, one after the other, though short ones do not. Where what
 * the two differ by is small beside the values, that is the grain of their rounding seen from too
 * near: between two of its steps a function can be smooth, with a slope of its own. The error of the
 * differences is then what the scales differ by. */
static bool look_from_afar(nbi_verify *c, const nbi_line *line, size_t j, nb_check_coordinate *to)
{
    nbi_rung now;
    int alike = 0;
    const double gap = fabs(to->analytic - to->numeric), unit = nbi_line_unit(c, line);
    if (!(gap * to->step <= 1e-6 * fabs(c->y0[j])) || !(gap > to->estimate))
        return true;
    for (double h = 16 * to->step; h < unit / 4 && alike < AFAR; h *= 2) {
        const double step = nbi_step(c, line, h);
        if (step <= 0)
            break;
        if (!nbi_look(c, line, j, step, &now))
            return false;
        alike = fabs(now.slope - to->analytic) <= gap / 16 ? alike + 1 : 0;
    }
    if (alike < AFAR)
        return true;
    to->estimate = gap;
    to->verdict = to->verdict == NB_VERDICT_WRONG ? NB_VERDICT_NOISY : to->verdict;
    return true;
}

/* Whether the claim is what the values do over h, to one side at least. Values that do not move there
 * may have been rounded in float inside, unless the noise is more than that. */
static bool agrees_near(const nbi_verify *c, const nbi_slope *s, const nbi_rung *now, size_t j,
                        double claim, double gap)
{
    const double low = fmin(now->left, now->right), high = fmax(now->left, now->right);
    return high - low <= 4 * gap && claim >= low - gap / 16 && claim <= high + gap / 16 &&
           (!now->mute || s->sigma > 4 * (double)FLT_EPSILON * fabs(c->y0[j]));
}

/* Whether the shortest steps at which rounding leaves anything to see agree with the claim, one after
 * the other, though those of the table do not. What the table takes for noise is then a wave, a
 * table's pieces, a staircase: too short for its steps, and with a slope of its own. */
static bool look_from_near(nbi_verify *c, const nbi_line *line, size_t j, const nbi_slope *s,
                           nb_check_coordinate *to)
{
    nbi_rung now;
    int alike = 0;
    const double gap = fabs(to->analytic - to->numeric);
    const double rounding = line->v ? s->rounding : 8 * c->eps * fabs(c->y0[j]) + 0x1p-1074;
    if (s->sigma <= 8 * s->rounding)
        return true;
    double h = 16 * rounding / gap;
    if (!line->v) /* as short as can be represented */
        h = fmax(h, ldexp(c->eps, NBI_STAGES) * fabs(c->x[line->axis]));
    for (int i = 0; i < NEAREST && alike < NEAR && h < s->h / 16; i++, h *= 2) {
        const double step = nbi_step(c, line, h);
        if (step <= 0)
            continue;
        if (!nbi_look(c, line, j, step, &now))
            return false;
        alike = agrees_near(c, s, &now, j, to->analytic, gap) ? alike + 1 : 0;
    }
    if (alike < NEAR)
        return true;
    to->estimate = gap;
    to->verdict = NB_VERDICT_NOISY;
    return true;
}

/* Values that move no more than their noise does show no slope. A wave as high as that noise can have
 * the slope that is claimed, unless it would have to be much shorter than the input's own size and the
 * noise is the rounding of the values. One table may see too little noise by chance. */
static bool drown(nbi_verify *c, const nbi_line *line, size_t j, nbi_slope *s,
                  nb_check_coordinate *to)
{
    nbi_slope other = *s;
    const double step = nbi_step(c, line, 0.83 * s->h);
    const bool lucky = s->sigma > 8 * s->rounding || s->spread <= 64 * s->sigma;
    if (lucky && step > 0 && !table(c, line, j, step, &other))
        return false;
    if (other.finite)
        s->sigma = fmax(s->sigma, other.sigma);
    const bool known = s->sigma <= 8 * s->rounding;
    const double wave = s->sigma / fabs(to->analytic - s->value);
    if (!s->mute && s->spread <= (known ? 8 : 32) * s->sigma &&
        (!known || wave > ldexp(nbi_line_unit(c, line), -10))) {
        to->verdict = NB_VERDICT_NOISY;
        to->estimate = to->error;
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
    for (int i = 0; isfinite(claim) && i < RESTARTS && from > 0; i++) {
        if (!nbi_search(c, line, j, claim, i ? s.value : 0, from, top, &s))
            return false;
        from = 0;
        const bool off = nbi_differs(c, &s, claim);
        const bool clear = s.finite && s.estimate <= 1e-3 * fabs(claim - s.value);
        const bool good = clear || nbi_resolved(c, line, &s, claim);
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
                 !suspicion(c, line, j, &s, to, &from, &top))
            return false;
    }
    if (to->verdict == NB_VERDICT_NOISY && agreed)
        to->verdict = NB_VERDICT_RIGHT;
    if (to->verdict == NB_VERDICT_NOISY && !think_again(c, line, j, &s, to))
        return false;
    if ((to->verdict == NB_VERDICT_WRONG || to->verdict == NB_VERDICT_NOISY) &&
        !look_from_afar(c, line, j, to))
        return false;
    if (to->verdict == NB_VERDICT_WRONG && !drown(c, line, j, &s, to))
        return false;
    if (to->verdict == NB_VERDICT_WRONG && !look_from_near(c, line, j, &s, to))
        return false;
    to->evaluations = (int)(c->r->evaluations - before);
    return true;
}
