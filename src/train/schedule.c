/*
 * Schedules. Each is a closed form in the step, so that a run which is resumed has the rates of one
 * that was never interrupted.
 *
 * With restarts, the i-th cosine is n q^i steps long and begins at n (q^i - 1) / (q - 1). Which one t
 * falls into is that formula's inverse, a logarithm, corrected by one where rounding has put a
 * beginning on the wrong side.
 *
 * The smoothed loss of a range test is the exponential mean m = b m + (1 - b) loss, divided by
 * 1 - b^t = -expm1(t log b), which makes it a mean from the first loss on.
 */
#include "base/reason.h"

#include <math.h>
#include <nabla/schedule.h>

static const double pi = 3.14159265358979323846, smoothing = 0.9;

static bool above_0(double x) { return x > 0 && isfinite(x); }
static bool from_0(double x) { return x >= 0 && isfinite(x); }
static double or_else(double x, double other) { return x == 0 ? other : x; }

const char *nb_schedule_name(nb_schedule_kind kind)
{
#define NBI_SCHEDULE(kind, name, text) name,
    static const char *const names[] = {NB_SCHEDULES(NBI_SCHEDULE)};
#undef NBI_SCHEDULE
    return (unsigned)kind < NB_SCHEDULE_COUNT ? names[kind] : "";
}

nb_code nb_schedule_check(const nb_schedule *s, nb_reason *why)
{
    if (!s || (unsigned)s->kind >= NB_SCHEDULE_COUNT)
        return nbi_because(why, NB_ERR_ARGUMENT, "schedule: it is NULL or of no kind");
    const char *name = nb_schedule_name(s->kind);
    const bool steps = s->kind != NB_CONSTANT && s->kind != NB_EXPONENTIAL && s->kind != NB_INVERSE;
    if (!above_0(s->rate))
        return nbi_because(why, NB_ERR_ARGUMENT,
                           "schedule: %s: the learning rate is %g, not above 0 and finite", name,
                           s->rate);
    if (!from_0(s->last) || !from_0(s->k) || s->warm_up < 0)
        return nbi_because(why, NB_ERR_ARGUMENT,
                           "schedule: %s: last %g, k %g, warm-up %lld: none may be negative", name,
                           s->last, s->k, (long long)s->warm_up);
    if (steps && s->steps < 1)
        return nbi_because(why, NB_ERR_ARGUMENT, "schedule: %s over %lld steps", name,
                           (long long)s->steps);
    if (s->kind == NB_COSINE && s->times != 0 && !(s->times >= 1 && isfinite(s->times)))
        return nbi_because(why, NB_ERR_ARGUMENT, "schedule: cosine: times is %g, not at least 1",
                           s->times);
    if (s->kind == NB_ONE_CYCLE && s->k >= 1)
        return nbi_because(why, NB_ERR_ARGUMENT, "schedule: one cycle: k is %g, not below 1", s->k);
    return NB_OK;
}

/* From a to b as x goes from 0 to 1. */
static double half_cosine(double a, double b, double x)
{
    return b + (a - b) * (1 + cos(pi * x)) / 2;
}

/* How far t is in its cosine, in [0, 1). */
static double since_restart(double t, double n, double q)
{
    if (q == 1)
        return fmod(t, n) / n;
    double i = floor(log1p(t / n * (q - 1)) / log(q));
    double length = n * pow(q, i), start = (length - n) / (q - 1);
    if (t < start) {
        length /= q;
        start -= length;
    } else if (t >= start + length) {
        start += length;
        length *= q;
    }
    return (t - start) / length;
}

static double cosine(const nb_schedule *s, double t, double x)
{
    const double at = s->times != 0 ? since_restart(t, (double)s->steps, s->times) : x;
    return half_cosine(s->rate, s->last, at);
}

static double one_cycle(const nb_schedule *s, double x)
{
    const double top = or_else(s->k, 0.3);
    if (x < top)
        return half_cosine(s->rate / 25, s->rate, x / top);
    return half_cosine(s->rate, s->last, (x - top) / (1 - top));
}

static double rate_at(const nb_schedule *s, double t)
{
    const double x = s->steps > 0 ? fmin(t / (double)s->steps, 1) : 0;
    switch (s->kind) {
    case NB_LINEAR: return (1 - x) * s->rate + x * s->last;
    case NB_STEPWISE: return s->rate * pow(or_else(s->k, 0.1), floor(t / (double)s->steps));
    case NB_EXPONENTIAL: return s->rate * exp(-s->k * t);
    case NB_INVERSE: return s->rate / (1 + s->k * t);
    case NB_POLYNOMIAL: return s->last + (s->rate - s->last) * pow(1 - x, or_else(s->k, 1));
    case NB_COSINE: return cosine(s, t, x);
    case NB_ONE_CYCLE: return one_cycle(s, x);
    default: return s->rate;
    }
}

double nb_schedule_at(const nb_schedule *s, int64_t t)
{
    if (nb_schedule_check(s, NULL) != NB_OK || t < 0)
        return (double)NAN;
    if (t < s->warm_up)
        return rate_at(s, 0) * ((double)t + 1) / ((double)s->warm_up + 1);
    return rate_at(s, (double)(t - s->warm_up));
}

/* ---- on a plateau ---------------------------------------------------------------------------- */

static bool plateau_usable(const nb_plateau *p)
{
    return above_0(p->rate) && from_0(p->factor) && p->factor < 1 && from_0(p->threshold) &&
           from_0(p->lowest) && p->patience >= 0 && p->cool >= 0;
}

double nb_plateau_tell(nb_plateau *p, double loss)
{
    if (!p || !plateau_usable(p))
        return (double)NAN;
    const double margin = or_else(p->threshold, 1e-4) * fabs(p->best);
    const bool better = p->told ? loss < p->best - margin : loss == loss;
    if (better) {
        p->best = loss;
        p->told = 1;
        p->bad = 0;
    } else if (p->cooling == 0) {
        p->bad++;
    }
    p->cooling -= p->cooling > 0;
    if (p->bad > (p->patience ? p->patience : 10)) {
        p->rate = fmax(p->rate * or_else(p->factor, 0.1), fmin(p->lowest, p->rate));
        p->bad = 0;
        p->cooling = p->cool;
    }
    return p->rate;
}

/* ---- finding a learning rate ----------------------------------------------------------------- */

double nb_rate_test_rate(const nb_rate_test *r)
{
    if (!r || !above_0(r->low) || !(r->high > r->low) || !isfinite(r->high) || r->steps < 2)
        return (double)NAN;
    const double x = (double)r->told / (double)(r->steps - 1);
    return r->low * exp(x * log(r->high / r->low));
}

/* The first means are of few losses, and fall or rise with these: a loss counts once there are ten of them, or
 * a quarter of all if that is less. */
static bool settled(const nb_rate_test *r)
{
    return (double)r->told > fmin(1 / (1 - smoothing), (double)r->steps / 4);
}

bool nb_rate_test_tell(nb_rate_test *r, double loss)
{
    const double rate = nb_rate_test_rate(r);
    if (isnan(rate) || r->over)
        return false;
    if (!isfinite(loss)) {
        r->over = true;
        return false;
    }
    const double before = r->smooth;
    r->told++;
    r->mean = smoothing * r->mean + (1 - smoothing) * loss;
    r->smooth = r->mean / -expm1((double)r->told * log(smoothing));
    if (r->told == 1) {
        r->first = r->least = r->smooth;
    } else if (settled(r) && r->smooth - before < r->steepest) {
        r->steepest = r->smooth - before;
        r->best = rate;
    }
    r->least = fmin(r->least, r->smooth);
    const double rise = 3 * fmax(fabs(r->least), r->first - r->least);
    r->over = r->told >= r->steps || r->smooth > r->least + rise;
    return !r->over;
}

double nb_rate_test_best(const nb_rate_test *r)
{
    return r && r->steepest < 0 ? r->best : (double)NAN;
}
