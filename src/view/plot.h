/*
 * Plots, from inside: one layout, two pens.
 *
 * The layout is counted in cells, each the place of a character: which of them are the plot's area, which
 * value lies at which fraction of it, where ticks and names stand. A series is walked once, in one place,
 * as lines, dots, boxes and slabs in the unit square (x to the right, y up), and a pen turns those into
 * Braille dots or into SVG. So what is left out, broken or clipped is so in both.
 *
 * Both drawings are collected in memory, and written when they are whole.
 */
#ifndef NABLA_SRC_PLOT_H
#define NABLA_SRC_PLOT_H

#include "data/text.h"

#include <nabla/plot.h>

/* ---- an axis --------------------------------------------------------------------------------- */

enum { NBI_TICKS = 24, NBI_NUMBER_TEXT = 40 };

typedef struct nbi_scale {
    bool log;
    double low, high;
    int n;
    double tick[NBI_TICKS]; /* ascending, within low and high */
    char label[NBI_TICKS][NBI_NUMBER_TEXT];
} nbi_scale;

/* So many significant digits, and all before the point up to 1e6; with a point whatever the locale. */
void nbi_plot_number(char *to, int digits, double v);
/* Fits the range [low, high], which may be a point, into s. */
void nbi_scale_set(nbi_scale *s, bool log, double low, double high);
/* Round values, at most about so many steps. */
void nbi_scale_ticks(nbi_scale *s, int most);
/* Where v lies: 0 at low, 1 at high, not beyond +-1e6. NaN for NaN; infinite if it has no place. */
double nbi_scale_at(const nbi_scale *s, double v);
/* The value at a fraction. */
double nbi_scale_value(const nbi_scale *s, double fraction);

/* ---- the layout ------------------------------------------------------------------------------ */

enum { NBI_PLOT_NAME = 60, NBI_PLOT_NAME_TEXT = 4 * NBI_PLOT_NAME + 4 };

typedef struct nbi_plot_layout {
    const nb_plot *plot;
    nbi_scale x, y;
    double heat_low,
        heat_high;             /* the range of the heat's values; the same: there are none or one */
    int columns, rows;         /* of it all */
    int left, top, wide, high; /* the area */
    int label, legend;         /* rows: of the label of x, of the legend's first line */
} nbi_plot_layout;

nb_code nbi_plot_lay_out(nbi_plot_layout *l, const nb_plot *p, nb_reason *why);

/* The legend, entry by entry: start from zeros. */
typedef struct nbi_plot_entry {
    size_t next;
    bool heat;     /* of the heat, otherwise of: */
    size_t series; /* that one */
    int column, row, width;
    char text[NBI_PLOT_NAME_TEXT]; /* begins 2 columns behind `column`; before it comes the key */
} nbi_plot_entry;
bool nbi_plot_next_entry(const nbi_plot_layout *l, nbi_plot_entry *e);

/* How dark the heat is at row i, column j: from 0 to 1; NaN where it is blank. */
double nbi_plot_shade(const nbi_plot_layout *l, size_t i, size_t j);

/* ---- the walk -------------------------------------------------------------------------------- */

typedef struct nbi_dot {
    double x, y;
} nbi_dot;

/* Lines, dots and boxes lie in the unit square. */
typedef struct nbi_pen {
    void (*line)(void *c, nbi_dot a, nbi_dot b); /* if a is b: a dot */
    void (*dot)(void *c, nbi_dot a);
    void (*box)(void *c, nbi_dot low, nbi_dot high);
    /* From a to b, which are not ordered, what lies between y and y2; reaches out of the square. */
    void (*slab)(void *c, nbi_dot a, double a2, nbi_dot b, double b2);
} nbi_pen;

void nbi_plot_walk(const nbi_plot_layout *l, const nb_series *s, const nbi_pen *pen, void *c);
/* The least distance between neighbours in x, a tenth of which parts two bars on either side. */
double nbi_plot_bar_gap(const nb_series *s);

/* ---- the pens -------------------------------------------------------------------------------- */

/* False if there is no memory. */
bool nbi_plot_to_text(const nbi_plot_layout *l, nbi_text *ink);
void nbi_plot_to_svg(const nbi_plot_layout *l, nbi_text *ink);

#endif
