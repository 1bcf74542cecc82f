/*
 * Walking a series: from numbers to strokes in the unit square.
 *
 * A point has a place, or breaks the line (NaN), or is left out (it has no place on the axis). A point of a
 * line that neither neighbour joins is a dot of its own, so that nothing that can be drawn is lost. Lines
 * are clipped here, after Liang and Barsky: along a + t (b - a) each side of the square bounds t from
 * below or from above, and what is left of [0, 1] is drawn.
 */
#include "view/plot.h"

#include <math.h>

typedef enum fate { PLACED, BREAKS, LEFT_OUT } fate;

/* The place of point i; of a band *second is that of y2. */
static fate place(const nbi_plot_layout *l, const nb_series *s, size_t i, nbi_dot *at,
                  double *second)
{
    at->x = nbi_scale_at(&l->x, s->x ? s->x[i] : (double)i);
    at->y = nbi_scale_at(&l->y, s->y[i]);
    *second = s->kind == NB_PLOT_BAND ? nbi_scale_at(&l->y, s->y2[i]) : 0;
    if (isnan(at->x) || isnan(at->y) || isnan(*second))
        return BREAKS;
    return isinf(at->x) || isinf(at->y) || isinf(*second) ? LEFT_OUT : PLACED;
}

static bool inside(nbi_dot a) { return a.x >= 0 && a.x <= 1 && a.y >= 0 && a.y <= 1; }

/* Narrows [t[0], t[1]] to where from + t step lies in [0, 1]; false if that is nowhere. */
static bool narrow(double from, double step, double *t)
{
    if (step == 0)
        return from >= 0 && from <= 1;
    const double low = (step > 0 ? -from : 1 - from) / step;
    const double high = (step > 0 ? 1 - from : -from) / step;
    t[0] = fmax(t[0], low);
    t[1] = fmin(t[1], high);
    return t[0] <= t[1];
}

static nbi_dot along(nbi_dot a, nbi_dot b, double t)
{
    if (t == 0 || t == 1) /* the ends are exact, and so are lines that meet in them */
        return t == 0 ? a : b;
    return (nbi_dot){fmin(fmax(a.x + t * (b.x - a.x), 0), 1),
                     fmin(fmax(a.y + t * (b.y - a.y), 0), 1)};
}

static void line(const nbi_pen *pen, void *c, nbi_dot a, nbi_dot b)
{
    double t[2] = {0, 1};
    if (narrow(a.x, b.x - a.x, t) && narrow(a.y, b.y - a.y, t))
        pen->line(c, along(a, b, t[0]), along(a, b, t[1]));
}

static void dot(const nbi_pen *pen, void *c, nbi_dot a)
{
    if (inside(a))
        pen->dot(c, a);
}

double nbi_plot_bar_gap(const nb_series *s)
{
    double gap = (double)INFINITY, last = (double)NAN;
    for (size_t i = 0; i < s->n; i++) {
        const double x = s->x ? s->x[i] : (double)i;
        if (!isfinite(x))
            continue;
        if (fabs(x - last) > 0)
            gap = fmin(gap, fabs(x - last));
        last = x;
    }
    return isfinite(gap) ? gap : 1;
}

static void bar(const nbi_plot_layout *l, const nbi_pen *pen, void *c, double x, double y,
                double gap)
{
    const double base = l->y.log ? 0 : nbi_scale_at(&l->y, 0);
    const double left = nbi_scale_at(&l->x, x - 0.4 * gap);
    const double right = nbi_scale_at(&l->x, x + 0.4 * gap);
    const nbi_dot low = {fmax(left, 0), fmax(fmin(base, y), 0)};
    const nbi_dot high = {fmin(right, 1), fmin(fmax(base, y), 1)};
    if (low.x <= high.x && low.y <= high.y)
        pen->box(c, low, high);
}

static void alone(const nb_series *s, const nbi_pen *pen, void *c, nbi_dot a, double a2)
{
    if (s->kind == NB_PLOT_BAND)
        pen->slab(c, a, a2, a, a2);
    else
        line(pen, c, a, a);
}

static void join(const nb_series *s, const nbi_pen *pen, void *c, nbi_dot a, double a2, nbi_dot b,
                 double b2)
{
    const nbi_dot corner = {b.x, a.y};
    if (s->kind == NB_PLOT_BAND) {
        pen->slab(c, a, a2, b, b2);
    } else if (s->kind == NB_PLOT_STEPS) {
        line(pen, c, a, corner);
        line(pen, c, corner, b);
    } else {
        line(pen, c, a, b);
    }
}

/* Lines, steps and bands. */
static void walk_joined(const nbi_plot_layout *l, const nb_series *s, const nbi_pen *pen, void *c)
{
    bool have = false, joined = false; /* is there a point before, and has it been drawn? */
    nbi_dot last = {0, 0}, at;
    double last2 = 0, second;
    for (size_t i = 0; i < s->n; i++) {
        const fate f = place(l, s, i, &at, &second);
        if (f == LEFT_OUT)
            continue;
        if (f == PLACED && have)
            join(s, pen, c, last, last2, at, second);
        else if (have && !joined)
            alone(s, pen, c, last, last2);
        joined = f == PLACED && have;
        have = f == PLACED;
        last = at;
        last2 = second;
    }
    if (have && !joined)
        alone(s, pen, c, last, last2);
}

void nbi_plot_walk(const nbi_plot_layout *l, const nb_series *s, const nbi_pen *pen, void *c)
{
    if (s->kind != NB_PLOT_POINTS && s->kind != NB_PLOT_BARS) {
        walk_joined(l, s, pen, c);
        return;
    }
    const double gap = s->kind == NB_PLOT_BARS ? nbi_plot_bar_gap(s) : 0;
    for (size_t i = 0; i < s->n; i++) {
        nbi_dot at;
        double second;
        if (place(l, s, i, &at, &second) != PLACED)
            continue;
        if (s->kind == NB_PLOT_BARS)
            bar(l, pen, c, s->x ? s->x[i] : (double)i, at.y, gap);
        else
            dot(pen, c, at);
    }
}
