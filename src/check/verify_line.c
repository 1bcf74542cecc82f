/*
 * Differences along a line that know how wrong they are.
 *
 * phi is sampled at 0 and at +- h/2^i. The samples have two halves. The odd one,
 *
 *     D_i = (phi(h_i) - phi(-h_i)) / 2 h_i  =  phi'(0) + c h_i^2 + …
 *
 * extrapolates to the derivative (Neville's scheme, differences.c). The even one,
 *
 *     e_i = (phi(h_i) + phi(-h_i)) / 2 - phi(0)  =  c h_i^2 + …
 *
 * extrapolates by the same scheme to 0, which is known, so by how much it misses is measured: that is
 * sigma, the noise of a value, whatever it comes from (rounding inside f, an iteration that stops
 * early, quantisation), and it costs no evaluation. Noise in D_i is sigma / h_i. Of the entries of the
 * odd table that one is taken whose truncation, as its neighbours show it, and noise together are
 * least, and the estimate is a multiple of the two.
 *
 * Steps are such that x, x + h_i and x - h_i are all represented, and differences divided by the
 * difference of the arguments that f has seen.
 */
#include "check/laws.h"
#include "check/verify.h"

#include <float.h>
#include <math.h>

enum { TRUNCATION = 3, NOISE = 4 }; /* the multiples */

/* ---- steps ----------------------------------------------------------------------------------- */

/* h rounded to a multiple of 2^STAGES units in the last place of |x| + h. */
static double representable(const nbi_verify *c, double x, double h)
{
    const double top = ldexp(fabs(x) + h, NBI_STAGES);
    if (!c->single)
        return isfinite(top) ? (top + h) - top : h;
    const float t = (float)top;
    const volatile float sum = t + (float)h;
    return isfinite(sum) ? (double)(sum - t) : h;
}

double nbi_step(const nbi_verify *c, const nbi_line *line, double h)
{
    return line->v ? h : representable(c, c->x[line->axis], h);
}

void nbi_go(nbi_verify *c, const nbi_line *line, double t)
{
    const size_t first = line->v ? 0 : line->axis, end = line->v ? c->n : first + 1;
    for (size_t i = first; i < end; i++) {
        const double to = c->x[i] + t * (line->v ? line->v[i] : 1);
        c->at[i] = c->single ? (double)(float)to : to;
    }
}

bool nbi_along(nbi_verify *c, const nbi_line *line, double t, double *y)
{
    nbi_go(c, line, t);
    const bool done = nbi_evaluate(c, y);
    nbi_go(c, line, 0);
    return done;
}

/* What a value at t may be off because x + t v was rounded: |g| units of x, as the claim has g. */
static double argument_rounding(const nbi_verify *c, const nbi_line *line)
{
    double sum = 0;
    for (size_t k = 0; line->v && !c->product && k < c->n; k++)
        if (line->v[k] != 0 && isfinite(c->claim[k])) {
            const double off = c->claim[k] * c->x[k] * c->eps / 2;
            sum += off * off;
        }
    return sqrt(sum);
}

bool nbi_sample_line(nbi_verify *c, const nbi_line *line, double h, int stages, nbi_samples *s)
{
    const double rounding = argument_rounding(c, line);
    for (size_t j = 0; j < c->m; j++)
        s[j] = (nbi_samples){.stages = stages, .h = h, .zero = c->y0[j]};
    for (int i = 0; i < stages; i++) {
        for (int side = 1; side >= -1; side -= 2) {
            if (!nbi_along(c, line, ldexp(side * h, -i), c->y))
                return false;
            for (size_t j = 0; j < c->m; j++)
                *(side > 0 ? &s[j].plus[i] : &s[j].minus[i]) = c->y[j];
        }
    }
    for (size_t j = 0; j < c->m; j++) {
        double most = fabs(s[j].zero);
        for (int i = 0; i < stages; i++)
            most = fmax(most, fmax(fabs(s[j].plus[i]), fabs(s[j].minus[i])));
        s[j].rounding = c->eps * most + rounding + 0x1p-1074;
    }
    return true;
}

/* ---- what they say --------------------------------------------------------------------------- */

static bool all_finite(const nbi_samples *s)
{
    bool finite = isfinite(s->zero);
    for (int i = 0; i < s->stages; i++)
        finite = finite && isfinite(s->plus[i]) && isfinite(s->minus[i]);
    return finite;
}

/* By how much the even half, extrapolated, misses phi(0): the worse of its last two rows. */
static double noise_of(const nbi_samples *s)
{
    double row[NBI_STAGES], worst = 0;
    for (int i = 0; i < s->stages; i++) {
        const double even = (s->plus[i] - s->zero) / 2 + (s->minus[i] - s->zero) / 2;
        const double miss = fabs(nbi_neville(row, i, even));
        worst = i >= 2 && i >= s->stages - 2 ? fmax(worst, miss) : worst;
    }
    return worst;
}

/* One-sided slopes from the two smallest steps, and whether what they differ by stays the same. */
static void look_aside(const nbi_samples *s, nbi_slope *to)
{
    double bend[NBI_STAGES] = {0}, right = 0, left = 0;
    const int last = s->stages - 1;
    for (int i = 0; i <= last; i++) {
        const double h = ldexp(s->h, -i), before[2] = {left, right};
        right = (s->plus[i] - s->zero) / h;
        left = (s->zero - s->minus[i]) / h;
        bend[i] = right - left;
        to->left = 2 * left - before[0];
        to->right = 2 * right - before[1];
    }
    const double now = bend[last], floor = 16 * s->rounding / ldexp(s->h, -last);
    bool stays = fabs(now) > floor && fabs(now) > 1e-6 * (fabs(to->left) + fabs(to->right));
    for (int i = last - 2; i < last; i++)
        stays = stays && bend[i] / now > 0.7 && bend[i] / now < 1.4;
    if (stays)
        to->bend = now;
}

/* (a - b) / 2h, where neither a - b nor the quotient need be representable if the other is. */
static double quotient(double a, double b, double h)
{
    return isfinite(a - b) ? (a - b) / h / 2 : (a / h - b / h) / 2;
}

nbi_slope nbi_slope_of(const nbi_samples *s, double floor)
{
    nbi_slope to = {.h = s->h,
                    .estimate = (double)INFINITY,
                    .value = (double)NAN,
                    .left = (double)NAN,
                    .right = (double)NAN,
                    .finite = all_finite(s)};
    if (!to.finite)
        return to;
    double difference[NBI_STAGES], least = (double)INFINITY;
    bool unmoved = false;
    to.rounding = s->rounding;
    for (int i = 0; i < s->stages; i++) {
        difference[i] = quotient(s->plus[i], s->minus[i], ldexp(s->h, -i));
        const double by = fmax(fabs(s->plus[i] - s->zero), fabs(s->minus[i] - s->zero));
        to.spread = fmax(to.spread, by);
        unmoved = unmoved || by == 0;
        least = by > 0 ? fmin(least, by) : least;
    }
    to.sigma = fmax(fmax(noise_of(s), s->rounding), floor);
    if (unmoved && isfinite(least)) /* not a small movement, but too small to be seen */
        to.sigma = fmax(to.sigma, least);
    to.mute = to.spread == 0;
    const double multiple = (double)NOISE / TRUNCATION;
    const nbi_estimate e = nbi_extrapolate_noisy(s->stages, difference, multiple * to.sigma / s->h);
    to.value = e.value;
    to.noise = TRUNCATION * e.noise;
    to.estimate = TRUNCATION * e.error + to.noise;
    look_aside(s, &to);
    return to;
}
