/*
 * The layout of a plot: is it sound, what range do its axes show, and which cells are what.
 *
 *     row 0            title                     if there is one
 *         1            label of y                if there is one
 *     top …            the area, `high` rows; to the left of it the labels of y's ticks and the axis
 *                      the axis of x
 *                      labels of its ticks
 *     label            label of x                if there is one
 *     legend …         as many rows as its entries take
 *
 * The labels of y decide how wide the area is, and the legend how high; so the order is: ranges, legend,
 * height, ticks of y, width, ticks of x.
 */
#include "view/plot.h"

#include "base/reason.h"
#include "view/view.h"

#include <math.h>
#include <string.h>

enum { MOST_CELLS = 1000, LEAST_WIDE = 8, LEAST_HIGH = 3 };

/* ---- soundness ------------------------------------------------------------------------------- */

static nb_code check_axis(const nb_plot_axis *a, const char *name, nb_reason *why)
{
    char low[NBI_NUMBER_TEXT], high[NBI_NUMBER_TEXT];
    if (a->low == 0 && a->high == 0)
        return NB_OK;
    nbi_plot_number(low, 6, a->low);
    nbi_plot_number(high, 6, a->high);
    if (!isfinite(a->low) || !isfinite(a->high) || !(a->low < a->high))
        return nbi_because(why, NB_ERR_ARGUMENT, "plot: the range of %s, %s to %s, is none", name,
                           low, high);
    if (a->log && a->low <= 0)
        return nbi_because(why, NB_ERR_ARGUMENT,
                           "plot: %s is logarithmic, but its range begins at %s", name, low);
    return NB_OK;
}

static nb_code check_series(const nb_plot *p, size_t k, nb_reason *why)
{
    const nb_series *s = &p->series[k];
    const char *name = s->name ? s->name : "";
    if ((unsigned)s->kind >= NB_PLOT_KINDS)
        return nbi_because(why, NB_ERR_ARGUMENT,
                           "plot: series %zu, \"%s\", is of no known kind, %d", k, name,
                           (int)s->kind);
    if (s->n && (!s->y || (s->kind == NB_PLOT_BAND && !s->y2)))
        return nbi_because(why, NB_ERR_ARGUMENT,
                           "plot: series %zu, \"%s\", has %zu points, but no %s", k, name, s->n,
                           s->y ? "y2" : "y");
    if (s->kind == NB_PLOT_BARS && p->x.log)
        return nbi_because(why, NB_ERR_ARGUMENT,
                           "plot: series %zu, \"%s\", are bars, which need a linear x", k, name);
    return NB_OK;
}

static nb_code check_reach(const double *edge, bool log, const char *name, nb_reason *why)
{
    if (isfinite(edge[0]) && isfinite(edge[1]) && edge[0] < edge[1] && !(log && edge[0] <= 0))
        return NB_OK;
    char low[NBI_NUMBER_TEXT], high[NBI_NUMBER_TEXT];
    nbi_plot_number(low, 6, edge[0]);
    nbi_plot_number(high, 6, edge[1]);
    return nbi_because(why, NB_ERR_ARGUMENT, "plot: the heat reaches in %s from %s to %s%s", name,
                       low, high, log ? ", on a logarithmic axis" : "");
}

static nb_code check_heat(const nb_plot *p, nb_reason *why)
{
    const nb_heat *h = p->heat;
    size_t cells;
    if (!h)
        return NB_OK;
    if (!h->z || !h->rows || !h->columns)
        return nbi_because(why, NB_ERR_ARGUMENT, "plot: the heat of %zu by %zu has no values",
                           h->rows, h->columns);
    if (__builtin_mul_overflow(h->rows, h->columns, &cells) || cells > PTRDIFF_MAX / sizeof(double))
        return nbi_because(why, NB_ERR_OVERFLOW, "plot: a heat of %zu by %zu is too large", h->rows,
                           h->columns);
    const nb_code code = check_reach(h->x, p->x.log, "x", why);
    return code ? code : check_reach(h->y, p->y.log, "y", why);
}

static nb_code check(const nb_plot *p, nb_reason *why)
{
    if (!p || (p->n && !p->series))
        return nbi_because(why, NB_ERR_ARGUMENT, "plot: %s is NULL",
                           p ? "the list of series" : "the plot");
    if (p->columns < 0 || p->columns > MOST_CELLS || p->rows < 0 || p->rows > MOST_CELLS)
        return nbi_because(why, NB_ERR_ARGUMENT, "plot: %d columns and %d rows; at most %d will do",
                           p->columns, p->rows, MOST_CELLS);
    nb_code code = check_axis(&p->x, "x", why);
    if (!code)
        code = check_axis(&p->y, "y", why);
    for (size_t k = 0; k < p->n && !code; k++)
        code = check_series(p, k, why);
    return code ? code : check_heat(p, why);
}

/* ---- ranges ---------------------------------------------------------------------------------- */

typedef struct range {
    double low, high;
} range;

static void widen(range *r, double v)
{
    r->low = fmin(r->low, v);
    r->high = fmax(r->high, v);
}

static bool has_place(bool log, double v) { return isfinite(v) && !(log && v <= 0); }

static void widen_by_series(const nb_plot *p, const nb_series *s, range *x, range *y)
{
    const double half = s->kind == NB_PLOT_BARS ? 0.4 * nbi_plot_bar_gap(s) : 0;
    for (size_t i = 0; i < s->n; i++) {
        const double at = s->x ? s->x[i] : (double)i;
        const double second = s->kind == NB_PLOT_BAND ? s->y2[i] : s->y[i];
        if (!has_place(p->x.log, at) || !has_place(p->y.log, s->y[i]) ||
            !has_place(p->y.log, second))
            continue;
        widen(x, at - half);
        widen(x, at + half);
        widen(y, s->y[i]);
        widen(y, second);
        if (s->kind == NB_PLOT_BARS && !p->y.log)
            widen(y, 0);
    }
}

static void set_scale(nbi_scale *s, const nb_plot_axis *a, range r)
{
    if (a->low != 0 || a->high != 0)
        r = (range){a->low, a->high};
    nbi_scale_set(s, a->log, r.low, r.high);
}

static void measure_heat(nbi_plot_layout *l, const nb_heat *h)
{
    range z = {(double)INFINITY, -(double)INFINITY};
    for (size_t i = 0; i < h->rows * h->columns; i++)
        if (has_place(h->log, h->z[i]))
            widen(&z, h->z[i]);
    l->heat_low = z.low <= z.high ? z.low : 0;
    l->heat_high = z.low <= z.high ? z.high : 0;
}

static nb_code find_ranges(nbi_plot_layout *l, nb_reason *why)
{
    const nb_plot *p = l->plot;
    range x = {(double)INFINITY, -(double)INFINITY}, y = x;
    size_t points = 0;
    for (size_t k = 0; k < p->n; k++) {
        widen_by_series(p, &p->series[k], &x, &y);
        points += p->series[k].n;
    }
    if (p->heat) {
        measure_heat(l, p->heat);
        for (int k = 0; k < 2; k++) {
            widen(&x, p->heat->x[k]);
            widen(&y, p->heat->y[k]);
        }
    }
    if (!(x.low <= x.high))
        return nbi_because(
            why, NB_ERR_EMPTY,
            "plot: nothing to draw: %zu series with %zu points, none of which is finite%s", p->n,
            points, p->x.log || p->y.log ? " and on the axes" : "");
    set_scale(&l->x, &p->x, x);
    set_scale(&l->y, &p->y, y);
    return NB_OK;
}

double nbi_plot_shade(const nbi_plot_layout *l, size_t i, size_t j)
{
    const nb_heat *h = l->plot->heat;
    const double z = h->z[i * h->columns + j];
    if (!has_place(h->log, z))
        return (double)NAN;
    const nbi_scale s = {.log = h->log, .low = l->heat_low, .high = l->heat_high};
    return l->heat_low < l->heat_high ? nbi_scale_at(&s, z) : 0;
}

/* ---- the legend ------------------------------------------------------------------------------ */

/* The heat's name and range. */
static void name_heat(const nbi_plot_layout *l, char *to, bool ascii)
{
    enum { ROOM = NBI_PLOT_NAME / 2 };
    char low[NBI_NUMBER_TEXT], high[NBI_NUMBER_TEXT], name[4 * ROOM + 4];
    nbi_plot_number(low, 3, l->heat_low);
    nbi_plot_number(high, 3, l->heat_high);
    nbi_view_cut(name, l->plot->heat->name, ROOM, ascii);
    snprintf(to, NBI_PLOT_NAME_TEXT, "%s: %s to %s", name, low, high);
}

/* The first name from e->next on, where 0 is the heat and k series k - 1; e->next is what follows. */
static const char *next_name(const nb_plot *p, nbi_plot_entry *e)
{
    const char *name = NULL;
    for (; !name && e->next <= p->n; e->next++) {
        e->heat = e->next == 0;
        e->series = e->heat ? 0 : e->next - 1;
        if (e->heat)
            name = p->heat ? p->heat->name : NULL;
        else
            name = p->series[e->series].name;
    }
    return name;
}

bool nbi_plot_next_entry(const nbi_plot_layout *l, nbi_plot_entry *e)
{
    const char *name = next_name(l->plot, e);
    if (!name)
        return false;
    if (e->heat)
        name_heat(l, e->text, l->plot->ascii);
    else
        nbi_view_cut(e->text, name, NBI_PLOT_NAME, l->plot->ascii);
    const bool first = e->width == 0;
    e->column += first ? 1 : e->width + 2;
    e->width = 2 + nbi_view_width(e->text);
    if (!first && e->column + e->width > l->columns) {
        e->column = 1;
        e->row++;
    }
    return true;
}

/* ---- geometry -------------------------------------------------------------------------------- */

static int legend_rows(const nbi_plot_layout *l)
{
    nbi_plot_entry e = {0};
    while (nbi_plot_next_entry(l, &e))
        ;
    return e.width ? e.row + 1 : 0;
}

static void set_heights(nbi_plot_layout *l)
{
    const nb_plot *p = l->plot;
    const int legend = legend_rows(l);
    l->legend = l->rows - legend;
    l->label = l->legend - (p->x.label != NULL);
    l->top = (p->title != NULL) + (p->y.label != NULL);
    l->high = l->label - 2 - l->top;
}

nb_code nbi_plot_lay_out(nbi_plot_layout *l, const nb_plot *p, nb_reason *why)
{
    *l = (nbi_plot_layout){.plot = p};
    nb_code code = check(p, why);
    if (!code)
        code = find_ranges(l, why);
    if (code)
        return code;
    l->columns = p->columns ? p->columns : 72;
    l->rows = p->rows ? p->rows : 20;
    set_heights(l);
    int widest = 0;
    nbi_scale_ticks(&l->y, l->high / 3);
    for (int k = 0; k < l->y.n; k++)
        widest = (int)fmax(widest, (double)strlen(l->y.label[k]));
    l->left = widest + 2;
    l->wide = l->columns - l->left;
    if (l->high < LEAST_HIGH || l->wide < LEAST_WIDE)
        return nbi_because(
            why, NB_ERR_ARGUMENT,
            "plot: %d columns and %d rows leave %d by %d for the plot, which needs %d by %d",
            l->columns, l->rows, l->wide, l->high, LEAST_WIDE, LEAST_HIGH);
    nbi_scale_ticks(&l->x, l->wide / 9);
    return NB_OK;
}
