/*
 * Plots as SVG.
 *
 * The layout's cells become 8 by 18 pixels, and each series one path: lines and steps stroked, points as
 * lines of no length with round caps, bars and bands filled. The area is an svg within the svg,
 * which clips what reaches out of it without an id that a second plot on the page could have too.
 *
 * Colours are those of Okabe and Ito that stand out on white and on black, which people with any kind
 * of colour vision tell apart; after seven series they come again with dashes. Text and grid are of
 * a class of their own and follow the page's preference for dark.
 */
#include "view/plot.h"

#include "view/view.h"

#include <math.h>
#include <string.h>

enum { CELL_X = 8, CELL_Y = 18, EDGE = 4 };

static const char *const colours[] = {"#0072b2", "#d55e00", "#009e73", "#cc79a7",
                                      "#e69f00", "#56b4e9", "#888888"};
static const char *const dashes[] = {"", "6 3", "2 3", "8 3 2 3"};
enum { COLOURS = sizeof colours / sizeof *colours, DASHES = sizeof dashes / sizeof *dashes };

typedef struct page {
    const nbi_plot_layout *l;
    nbi_text *ink;
    double wide, high; /* of the area, in pixels */
    nbi_dot pen, at;   /* what the path was led to last, and what it should have been led to */
    bool down;         /* has it begun? */
} page;

/* ---- pieces ---------------------------------------------------------------------------------- */

/* In pixels, to hundredths. */
static void put_number(page *g, double v)
{
    char text[NBI_NUMBER_TEXT];
    nbi_plot_number(text, 12, floor(v * 100 + 0.5) / 100 + 0.0);
    nbi_text_put(g->ink, text);
}

/* A command of a path, its point, and a space. */
static void put_point(page *g, const char *command, nbi_dot a)
{
    nbi_text_put(g->ink, command);
    put_number(g, a.x * g->wide);
    nbi_text_put(g->ink, " ");
    put_number(g, (1 - a.y) * g->high);
    nbi_text_put(g->ink, " ");
}

static void put_escaped(page *g, const char *s)
{
    for (char one[2] = {0, 0}; *s; s++) {
        one[0] = *s;
        nbi_text_put(g->ink, *s == '&'    ? "&amp;"
                             : *s == '<'  ? "&lt;"
                             : *s == '>'  ? "&gt;"
                             : *s == '"'  ? "&quot;"
                             : *s == '\'' ? "&#39;"
                                          : one);
    }
}

/* Any text, made printable and cut. */
static void put_name(page *g, const char *name)
{
    char text[NBI_PLOT_NAME_TEXT];
    nbi_view_cut(text, name, NBI_PLOT_NAME, false);
    put_escaped(g, text);
}

/* Text that begins, is centred, or ends at a place in cells: anchor is "start", "middle" or "end". */
static void put_text(page *g, double column, double row, const char *anchor, const char *s)
{
    nbi_text_put(g->ink, "<text x=\"");
    put_number(g, column * CELL_X);
    nbi_text_put(g->ink, "\" y=\"");
    put_number(g, (row + 0.72) * CELL_Y);
    nbi_text_add(g->ink, "\" text-anchor=\"%s\">", anchor);
    put_name(g, s);
    nbi_text_put(g->ink, "</text>\n");
}

/* ---- the pen --------------------------------------------------------------------------------- */

/* A line that goes on within a twentieth of a pixel is the next one's business. */
static void draw_line(void *context, nbi_dot a, nbi_dot b)
{
    page *g = context;
    const bool goes_on = g->down && g->at.x == a.x && g->at.y == a.y;
    g->at = b;
    g->down = true;
    if (goes_on && fabs(b.x - g->pen.x) * g->wide < 0.05 && fabs(b.y - g->pen.y) * g->high < 0.05)
        return;
    if (!goes_on)
        put_point(g, "M", a);
    put_point(g, "L", b);
    g->pen = b;
}

static void draw_point(void *context, nbi_dot a)
{
    page *g = context;
    put_point(g, "M", a);
    nbi_text_put(g->ink, "h0 ");
}

static void draw_slab(void *context, nbi_dot a, double a2, nbi_dot b, double b2)
{
    page *g = context;
    const double half = a.x == b.x ? 0.5 / g->wide : 0; /* a point alone is a pixel wide */
    a.x -= half;
    b.x += half;
    put_point(g, "M", a);
    put_point(g, "L", b);
    put_point(g, "L", (nbi_dot){b.x, b2});
    put_point(g, "L", (nbi_dot){a.x, a2});
    nbi_text_put(g->ink, "Z ");
}

static void draw_box(void *context, nbi_dot low, nbi_dot high)
{
    draw_slab(context, low, high.y, (nbi_dot){high.x, low.y}, high.y);
}

static const nbi_pen pen = {draw_line, draw_point, draw_box, draw_slab};

/* ---- series ---------------------------------------------------------------------------------- */

/* The attributes of series k's path, and of its key in the legend. */
static void put_style(page *g, size_t k)
{
    static const char *const style[NB_PLOT_KINDS] = {
        [NB_PLOT_LINE] = "fill=\"none\" stroke-width=\"1.7\"",
        [NB_PLOT_POINTS] = "fill=\"none\" stroke-width=\"5\" stroke-opacity=\"0.8\"",
        [NB_PLOT_STEPS] = "fill=\"none\" stroke-width=\"1.7\"",
        [NB_PLOT_BAND] = "fill-opacity=\"0.25\" stroke=\"none\"",
        [NB_PLOT_BARS] = "fill-opacity=\"0.8\" stroke=\"none\"",
    };
    const nb_plot_kind kind = g->l->plot->series[k].kind;
    const char *colour = colours[k % COLOURS], *dash = dashes[k / COLOURS % DASHES];
    const bool filled = kind == NB_PLOT_BAND || kind == NB_PLOT_BARS;
    nbi_text_add(g->ink, " %s=\"%s\"", filled ? "fill" : "stroke", colour);
    if (*dash && (kind == NB_PLOT_LINE || kind == NB_PLOT_STEPS))
        nbi_text_add(g->ink, " stroke-dasharray=\"%s\"", dash);
    nbi_text_add(g->ink, " %s stroke-linecap=\"round\" stroke-linejoin=\"round\"", style[kind]);
}

static void put_series(page *g, size_t k)
{
    nbi_text_put(g->ink, "<path");
    put_style(g, k);
    nbi_text_put(g->ink, " d=\"");
    g->down = false;
    nbi_plot_walk(g->l, &g->l->plot->series[k], &pen, g);
    nbi_text_put(g->ink, "\"/>\n");
}

/* ---- the heat -------------------------------------------------------------------------------- */

enum { SHADES = 24 };

static int shade(const page *g, size_t i, size_t j)
{
    const double s = nbi_plot_shade(g->l, i, j);
    return isnan(s) ? -1 : (int)fmin(s * SHADES, SHADES - 1);
}

/* Cells [from, to) of row i. */
static void put_run(page *g, size_t i, size_t from, size_t to, int dark)
{
    const nb_heat *h = g->l->plot->heat;
    const double row[2] = {(double)i / (double)h->rows, (double)(i + 1) / (double)h->rows};
    const double column[2] = {(double)from / (double)h->columns, (double)to / (double)h->columns};
    nbi_dot corner[2];
    for (int k = 0; k < 2; k++) {
        const double x = (1 - column[k]) * h->x[0] + column[k] * h->x[1];
        const double y = (1 - row[k]) * h->y[0] + row[k] * h->y[1];
        corner[k] = (nbi_dot){nbi_scale_at(&g->l->x, x), nbi_scale_at(&g->l->y, y)};
    }
    nbi_text_add(g->ink, "<path fill-opacity=\"0.%03d\" d=\"", 600 * dark / (SHADES - 1));
    draw_box(g, corner[0], corner[1]);
    nbi_text_put(g->ink, "\"/>\n");
}

/* Neighbours of one shade are one box. */
static void put_heat(page *g)
{
    const nb_heat *h = g->l->plot->heat;
    nbi_text_put(g->ink, "<g fill=\"#888888\" shape-rendering=\"crispEdges\">\n");
    for (size_t i = 0; i < h->rows; i++)
        for (size_t j = 0, from = 0; j < h->columns; j++) {
            const int dark = shade(g, i, j);
            if (j + 1 < h->columns && shade(g, i, j + 1) == dark)
                continue;
            if (dark > 0)
                put_run(g, i, from, j + 1, dark);
            from = j + 1;
        }
    nbi_text_put(g->ink, "</g>\n");
}

/* ---- what stands around it ------------------------------------------------------------------- */

static void put_axes(page *g)
{
    const nbi_plot_layout *l = g->l;
    for (int k = 0; k < l->x.n; k++)
        put_text(g, l->left + nbi_scale_at(&l->x, l->x.tick[k]) * l->wide, l->top + l->high + 0.15,
                 "middle", l->x.label[k]);
    for (int k = 0; k < l->y.n; k++)
        put_text(g, l->left - 1, l->top + (1 - nbi_scale_at(&l->y, l->y.tick[k])) * l->high - 0.5,
                 "end", l->y.label[k]);
    if (l->plot->title) {
        nbi_text_put(g->ink, "<g font-weight=\"bold\">");
        put_text(g, l->left + l->wide / 2.0, 0, "middle", l->plot->title);
        nbi_text_put(g->ink, "</g>\n");
    }
    if (l->plot->y.label)
        put_text(g, 1, l->top - 1.3, "start", l->plot->y.label);
    if (l->plot->x.label)
        put_text(g, l->left + l->wide / 2.0, l->label - 0.6, "middle", l->plot->x.label);
}

static void put_legend(page *g)
{
    nbi_plot_entry e = {0};
    while (nbi_plot_next_entry(g->l, &e)) {
        const int row = g->l->legend + e.row;
        const int x = e.column * CELL_X, y = row * CELL_Y + CELL_Y / 2;
        const bool filled = e.heat || g->l->plot->series[e.series].kind >= NB_PLOT_BAND;
        const bool point = !e.heat && g->l->plot->series[e.series].kind == NB_PLOT_POINTS;
        nbi_text_put(g->ink, "<path");
        if (e.heat)
            nbi_text_put(g->ink, " fill=\"#888888\" fill-opacity=\"0.4\"");
        else
            put_style(g, e.series);
        nbi_text_add(g->ink, " d=\"M%d %d h%d %s\"/>\n", point ? x + 6 : x, filled ? y - 5 : y,
                     point ? 0 : 12, filled ? "v10 h-12 Z" : "");
        put_text(g, e.column + 2.2, row, "start", e.text);
    }
}

static void put_grid(page *g)
{
    const nbi_plot_layout *l = g->l;
    nbi_text_put(g->ink, "<path class=\"nb-grid\" d=\"");
    for (int k = 0; k < l->x.n; k++) {
        const double x = nbi_scale_at(&l->x, l->x.tick[k]);
        put_point(g, "M", (nbi_dot){x, 0});
        put_point(g, "L", (nbi_dot){x, 1});
    }
    for (int k = 0; k < l->y.n; k++) {
        const double y = nbi_scale_at(&l->y, l->y.tick[k]);
        put_point(g, "M", (nbi_dot){0, y});
        put_point(g, "L", (nbi_dot){1, y});
    }
    nbi_text_put(g->ink, "\"/>\n<path class=\"nb-axis\" d=\"");
    put_point(g, "M", (nbi_dot){0, 1});
    put_point(g, "L", (nbi_dot){0, 0});
    put_point(g, "L", (nbi_dot){1, 0});
    nbi_text_put(g->ink, "\"/>\n");
}

static void put_area(page *g)
{
    const nb_plot *p = g->l->plot;
    const int wide = (int)g->wide + 2 * EDGE, high = (int)g->high + 2 * EDGE;
    nbi_text_add(g->ink,
                 "<svg x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" viewBox=\"%d %d %d %d\" "
                 "overflow=\"hidden\">\n",
                 g->l->left * CELL_X - EDGE, g->l->top * CELL_Y - EDGE, wide, high, -EDGE, -EDGE,
                 wide, high);
    if (p->heat)
        put_heat(g);
    put_grid(g);
    for (size_t k = 0; k < p->n; k++)
        put_series(g, k);
    nbi_text_put(g->ink, "</svg>\n");
}

void nbi_plot_to_svg(const nbi_plot_layout *l, nbi_text *ink)
{
    page g = {.l = l, .ink = ink, .wide = l->wide * CELL_X, .high = l->high * CELL_Y};
    const int wide = (l->columns + 2) * CELL_X, above = CELL_Y / 2;
    const int high = l->rows * CELL_Y + 2 * above; /* and half a row above and below */
    nbi_text_add(ink,
                 "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"nb-plot\" role=\"img\" "
                 "width=\"%d\" height=\"%d\" viewBox=\"0 %d %d %d\" font-family=\"sans-serif\" "
                 "font-size=\"12\">\n<title>",
                 wide, high, -above, wide, high);
    put_name(&g, l->plot->title ? l->plot->title : "plot");
    nbi_text_put(ink, "</title>\n<style>\n"
                      ".nb-plot text{fill:#333}\n"
                      ".nb-plot .nb-grid{fill:none;stroke:#888;stroke-opacity:.25}\n"
                      ".nb-plot .nb-axis{fill:none;stroke:#888}\n"
                      "@media(prefers-color-scheme:dark){.nb-plot text{fill:#ccc}}\n"
                      "</style>\n");
    put_area(&g);
    put_axes(&g);
    put_legend(&g);
    nbi_text_put(ink, "</svg>\n");
}
