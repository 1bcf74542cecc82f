/*
 * Plots in characters.
 *
 * A cell of the area is 2 by 4 Braille dots, and Unicode has a character for each of their 256 sets, U+2800
 * plus one bit per dot; so curves have eight times the resolution of the text around them. Dots of
 * all series share the cells, and letters tell the series apart: where a series ends, its letter replaces the
 * dots. In ASCII a cell is a single dot and shows the letter of the series that drew there last.
 *
 * The first and the last dot of a direction stand for fractions 0 and 1. What lies in the middle between two
 * dots goes to the upper one, even if rounding left it a little below.
 */
#include "view/plot.h"

#include "view/view.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct cell {
    uint8_t dots, shade; /* 0: none */
    uint8_t colour;      /* of the series, from 1 */
    char mark;           /* a letter */
    char text[5];        /* UTF-8; what is not the area's */
} cell;

typedef struct canvas {
    const nbi_plot_layout *l;
    cell *cells;
    int across, down; /* dots in a cell */
    bool plain;       /* ASCII */
    bool several;     /* series: letters tell them apart */
    char mark;        /* the present series' */
    uint8_t colour;
    cell *last; /* that it drew in */
} canvas;

static cell *at(const canvas *c, int row, int column)
{
    return &c->cells[(size_t)row * (size_t)c->l->columns + (size_t)column];
}

static int nearest(double fraction, int dots)
{
    return (int)floor(fraction * (dots - 1) + 0.5 + 1e-9);
}

static int dot_x(const canvas *c, double f) { return nearest(f, c->l->wide * c->across); }
static int dot_y(const canvas *c, double f) { return nearest(f, c->l->high * c->down); }

/* ---- the pen --------------------------------------------------------------------------------- */

static const uint8_t braille[4][2] = {{0x01, 0x08}, {0x02, 0x10}, {0x04, 0x20}, {0x40, 0x80}};

static void put_dot(canvas *c, int x, int y, char mark)
{
    const int below = c->l->high * c->down - 1 - y;
    cell *at_dot = at(c, c->l->top + below / c->down, c->l->left + x / c->across);
    if (c->plain)
        at_dot->mark = mark;
    else
        at_dot->dots |= braille[below % 4][x % 2];
    at_dot->colour = c->colour;
    c->last = at_dot;
}

static void draw_line(void *context, nbi_dot a, nbi_dot b)
{
    canvas *c = context;
    const int x = dot_x(c, a.x), y = dot_y(c, a.y);
    const int dx = dot_x(c, b.x) - x, dy = dot_y(c, b.y) - y;
    const int steps = abs(dx) > abs(dy) ? abs(dx) : abs(dy);
    put_dot(c, x, y, c->mark);
    for (int k = 1; k <= steps; k++)
        put_dot(c, x + (int)floor((double)k * dx / steps + 0.5),
                y + (int)floor((double)k * dy / steps + 0.5), c->mark);
}

static void draw_point(void *context, nbi_dot a)
{
    canvas *c = context;
    put_dot(c, dot_x(c, a.x), dot_y(c, a.y), c->mark);
    if (c->several)
        c->last->mark = c->mark;
}

static void draw_box(void *context, nbi_dot low, nbi_dot high)
{
    canvas *c = context;
    for (int x = dot_x(c, low.x); x <= dot_x(c, high.x); x++)
        for (int y = dot_y(c, low.y); y <= dot_y(c, high.y); y++)
            put_dot(c, x, y, c->mark);
}

/* Every other dot, so that lines are seen on it. */
static void fill_column(canvas *c, int x, double one, double other)
{
    const double low = fmin(one, other), high = fmax(one, other);
    if (x < 0 || x >= c->l->wide * c->across || high < 0 || low > 1)
        return;
    const int top = dot_y(c, fmin(high, 1));
    for (int y = dot_y(c, fmax(low, 0)); y <= top; y++)
        if (c->plain || (x + y) % 2 == 0)
            put_dot(c, x, y, ':');
}

static void draw_slab(void *context, nbi_dot a, double a2, nbi_dot b, double b2)
{
    canvas *c = context;
    const bool ordered = a.x <= b.x;
    const double first = ordered ? a.x : b.x, last = ordered ? b.x : a.x;
    if (last < 0 || first > 1)
        return;
    const int end = dot_x(c, fmin(last, 1));
    const double width = b.x - a.x;
    for (int x = dot_x(c, fmax(first, 0)); x <= end; x++) {
        const double here = (double)x / (c->l->wide * c->across - 1);
        const double t = width != 0 ? fmin(fmax((here - a.x) / width, 0), 1) : 0;
        fill_column(c, x, (1 - t) * a.y + t * b.y, (1 - t) * a2 + t * b2);
    }
}

static const nbi_pen pen = {draw_line, draw_point, draw_box, draw_slab};

/* ---- series ---------------------------------------------------------------------------------- */

static char letter(size_t k)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    return k < sizeof letters - 1 ? letters[k] : '*';
}

/* In its last cell, or to the left of it if another letter stands there. */
static void put_letter(canvas *c)
{
    const int column = (int)((c->last - c->cells) % c->l->columns);
    cell *to = c->last;
    for (int k = column; to->mark && k > c->l->left; k--)
        to--;
    to->mark = c->mark;
    to->colour = c->colour;
}

static void draw_series(canvas *c)
{
    const nb_plot *p = c->l->plot;
    c->several = p->n > 1;
    for (size_t k = 0; k < p->n; k++) {
        c->mark = c->several ? letter(k) : '*';
        c->colour = (uint8_t)(k % 6 + 1);
        c->last = NULL;
        nbi_plot_walk(c->l, &p->series[k], &pen, c);
        if (c->several && !c->plain && c->last && p->series[k].kind != NB_PLOT_POINTS)
            put_letter(c);
    }
}

/* ---- the heat -------------------------------------------------------------------------------- */

enum { SHADES = 4 };
static const char *const shade_utf8[SHADES] = {" ", "░", "▒", "▓"};
static const char *const shade_ascii[SHADES] = {" ", ".", "-", "%"};

/* The row or column of the grid at a value; -1 if the grid does not reach there. */
static long grid_index(const double *edge, size_t n, double v)
{
    const double f = (v - edge[0]) / (edge[1] - edge[0]) * (double)n;
    return f >= 0 && f <= (double)n ? (long)fmin(f, (double)n - 1) : -1;
}

static void draw_heat(const canvas *c)
{
    const nbi_plot_layout *l = c->l;
    const nb_heat *h = l->plot->heat;
    for (int row = 0; h && row < l->high; row++)
        for (int column = 0; column < l->wide; column++) {
            const double x = nbi_scale_value(&l->x, (column + 0.5) / l->wide);
            const double y = nbi_scale_value(&l->y, 1 - (row + 0.5) / l->high);
            const long i = grid_index(h->y, h->rows, y), j = grid_index(h->x, h->columns, x);
            const double s = i < 0 || j < 0 ? -1 : nbi_plot_shade(l, (size_t)i, (size_t)j);
            if (s >= 0)
                at(c, l->top + row, l->left + column)->shade =
                    (uint8_t)fmin(s * SHADES, SHADES - 1);
        }
}

/* ---- what stands around it ------------------------------------------------------------------- */

static void put_text(const canvas *c, int row, int column, const char *s)
{
    for (; *s && column < c->l->columns; column++) {
        char *to = at(c, row, column)->text;
        do
            *to++ = *s++;
        while (((unsigned char)*s & 0xc0) == 0x80);
        *to = 0;
    }
}

static void put_name(const canvas *c, int row, int column, int room, const char *name, bool centred)
{
    char text[NBI_PLOT_NAME_TEXT];
    nbi_view_cut(text, name, room < NBI_PLOT_NAME ? room : NBI_PLOT_NAME, c->plain);
    put_text(c, row, column + (centred ? (room - nbi_view_width(text)) / 2 : 0), text);
}

static void put_y_axis(const canvas *c)
{
    const nbi_plot_layout *l = c->l;
    for (int row = 0; row < l->high; row++)
        put_text(c, l->top + row, l->left - 1, c->plain ? "|" : "│");
    for (int k = 0, last = -1; k < l->y.n; k++) {
        const int dots = l->high * c->down - 1 - dot_y(c, nbi_scale_at(&l->y, l->y.tick[k]));
        const int row = l->top + dots / c->down;
        if (row == last)
            continue;
        put_text(c, row, l->left - 2 - (int)strlen(l->y.label[k]), l->y.label[k]);
        put_text(c, row, l->left - 1, c->plain ? "+" : "┤");
        last = row;
    }
}

static void put_x_axis(const canvas *c)
{
    const nbi_plot_layout *l = c->l;
    const int row = l->top + l->high;
    put_text(c, row, l->left - 1, c->plain ? "+" : "└");
    for (int column = 0; column < l->wide; column++)
        put_text(c, row, l->left + column, c->plain ? "-" : "─");
    for (int k = 0, end = 0; k < l->x.n; k++) {
        const int column = l->left + dot_x(c, nbi_scale_at(&l->x, l->x.tick[k])) / c->across;
        const int width = (int)strlen(l->x.label[k]);
        const int first = (int)fmin(column - (width - 1) / 2, l->columns - width);
        put_text(c, row, column, c->plain ? "+" : "┬");
        if (first < end)
            continue;
        put_text(c, row + 1, first, l->x.label[k]);
        end = first + width + 1;
    }
}

static void put_legend(const canvas *c)
{
    nbi_plot_entry e = {0};
    while (nbi_plot_next_entry(c->l, &e)) {
        const char *line = c->plain ? "*" : "─";
        const char own[2] = {letter(e.series), 0};
        const int row = c->l->legend + e.row;
        put_text(c, row, e.column, e.heat ? c->plain ? "%" : "▒" : c->several ? own : line);
        put_text(c, row, e.column + 2, e.text);
        if (!e.heat)
            at(c, row, e.column)->colour = (uint8_t)(e.series % 6 + 1);
    }
}

static void put_names(const canvas *c)
{
    const nbi_plot_layout *l = c->l;
    const nb_plot *p = l->plot;
    if (p->title)
        put_name(c, 0, l->left, l->wide, p->title, true);
    if (p->y.label)
        put_name(c, l->top - 1, 1, l->columns - 1, p->y.label, false);
    if (p->x.label)
        put_name(c, l->label, l->left, l->wide, p->x.label, true);
}

/* ---- printing -------------------------------------------------------------------------------- */

static const char *look(const canvas *c, const cell *s, char *own)
{
    if (s->text[0])
        return s->text;
    own[0] = s->mark;
    own[1] = 0;
    if (!s->mark && s->dots) { /* U+2800 + dots, as UTF-8 */
        own[0] = (char)0xe2;
        own[1] = (char)(0xa0 | s->dots >> 6);
        own[2] = (char)(0x80 | (s->dots & 0x3f));
        own[3] = 0;
    }
    return own[0] ? own : (c->plain ? shade_ascii : shade_utf8)[s->shade];
}

static void print(const canvas *c, nbi_text *ink)
{
    char own[4];
    for (int row = 0; row < c->l->rows; row++) {
        int end = c->l->columns;
        while (end && look(c, at(c, row, end - 1), own)[0] == ' ')
            end--;
        for (int x = 0; x < end; x++) {
            const cell *s = at(c, row, x);
            const bool coloured = c->l->plot->colour && s->colour;
            if (coloured)
                nbi_text_add(ink, "\x1b[3%dm", s->colour);
            nbi_text_put(ink, look(c, s, own));
            if (coloured)
                nbi_text_put(ink, "\x1b[0m");
        }
        nbi_text_put(ink, "\n");
    }
}

bool nbi_plot_to_text(const nbi_plot_layout *l, nbi_text *ink)
{
    const bool plain = l->plot->ascii;
    const size_t bytes = (size_t)l->rows * (size_t)l->columns * sizeof(cell);
    canvas c = {
        .l = l, .plain = plain, .across = plain ? 1 : 2, .down = plain ? 1 : 4, .several = false};
    c.cells = nbi_resize(ink->heap, NULL, 0, bytes);
    if (!c.cells)
        return false;
    memset(c.cells, 0, bytes);
    draw_heat(&c);
    draw_series(&c);
    put_y_axis(&c);
    put_x_axis(&c);
    put_names(&c);
    put_legend(&c);
    print(&c, ink);
    nbi_resize(ink->heap, c.cells, bytes, 0);
    return true;
}
