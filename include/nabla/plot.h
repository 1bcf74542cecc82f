/*
 * nabla/plot.h: curves, points, bands, bars and maps of values, as text and as SVG; a bar for long work.
 *
 *     const nb_series loss[] = {{.name = "training", .n = epochs, .y = train},
 *                               {.name = "validation", .n = epochs, .y = valid}};
 *     const nb_plot p = {.title = "Loss", .x.label = "epoch", .y.log = true, .n = 2, .series = loss};
 *     nb_plot_print(stdout, &p, NULL);
 *     nb_plot_save("loss.svg", &p, NULL);
 *
 *                              Loss
 *        1 ┤⠛⠶⢦⣤⣀⡀
 *          │    ⠉⠉⠑⠒⠤⢄⣀
 *          │           ⠉⠙⠛⠶⢦⣄⣀⣀⡀
 *      0.1 ┤                ⠈⠉⠒⠚⠛⠶⢖⣒⠒⠢⠤⠤⠤⢄⣀⣀⣀⣀⣀⣀⣀
 *          │                        ⠉⠑⠒⠤⣀⡀       ⠉⠉⠉⠉b
 *          │                             ⠈⠉⠒⠢⠤⠤⢄⣀
 *     0.01 ┤                                     ⠉⠒⠢⠤a
 *          └┬─────────────┬─────────────┬─────────────
 *           0             10            20
 *                             epoch
 *      a training  b validation
 *
 * A plot is a struct that points to the caller's numbers; nothing is kept. Both drawings come from one
 * layout, in cells of a character each. All that goes wrong goes wrong before the first byte is written,
 * but for what the file itself refuses.
 *
 * What cannot be drawn: NaN breaks a line; infinities, and what is not positive on a logarithmic axis, are
 * left out, and the line goes on to the next point. A plot with nothing that can be drawn is NB_ERR_EMPTY.
 */
#ifndef NABLA_PLOT_H
#define NABLA_PLOT_H

#include <nabla/base.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum nb_plot_kind {
    NB_PLOT_LINE,   /* points, joined */
    NB_PLOT_POINTS, /* each by itself */
    NB_PLOT_STEPS,  /* y holds until the next x */
    NB_PLOT_BAND,   /* what lies between y and y2, filled */
    NB_PLOT_BARS, /* from 0, or the edge of a logarithmic axis, to y; x, linear, is the middle of a bar */
    NB_PLOT_KINDS
} nb_plot_kind;

typedef struct nb_series {
    const char *name; /* in the legend; NULL: it is not there */
    nb_plot_kind kind;
    size_t n;
    const double *x; /* NULL: 0, 1, 2, … */
    const double *y, *y2;
} nb_series;

/* A value for each cell of a grid, as shades: row 0 lies lowest. NaN stays blank. */
typedef struct nb_heat {
    const char *name; /* in the legend, with the range; NULL: it is not there */
    size_t rows, columns;
    const double *z;   /* [rows columns] */
    double x[2], y[2]; /* from where to where the grid reaches, in equal steps */
    bool log;          /* shades by the logarithm; what is not positive stays blank */
} nb_heat;

typedef struct nb_plot_axis {
    const char *label;
    bool log;
    double low, high; /* the range shown; both 0: that of the data */
} nb_plot_axis;

/* Zero means the default. */
typedef struct nb_plot {
    const char *title;
    nb_plot_axis x, y;
    size_t n;
    const nb_series *series; /* drawn in this order */
    const nb_heat *heat;     /* behind them; or NULL */
    int columns, rows;       /* room for all of it; 72 and 20. In SVG a cell is 8 by 18 pixels */
    bool ascii;  /* text: ASCII characters only; otherwise UTF-8, its curves in Braille dots */
    bool colour; /* text: with the escapes of a terminal that has colours */
    nb_allocator allocator; /* of the drawing; zero: the default one */
} nb_plot;

/* As text. Of several series each ends in its letter, and scattered points are letters. */
NB_API nb_code nb_plot_print(FILE *to, const nb_plot *p, nb_reason *why);
/* As SVG: no scripts, no fonts or files of its own, for light pages and dark ones. */
NB_API nb_code nb_plot_svg(FILE *to, const nb_plot *p, nb_reason *why);
/* The same as the file `path`, which is replaced whole or not at all. */
NB_API nb_code nb_plot_save(const char *path, const nb_plot *p, nb_reason *why);

/* ---- progress on long work ------------------------------------------------------------------- */

/* One line of a terminal, drawn over and over:
 *
 *     nb_bar bar = {.to = stderr, .label = "training"};
 *     for (…)
 *         nb_bar_draw(&bar, done, total, seconds, "loss 0.31");
 *     nb_bar_clear(&bar);
 *
 *     training ━━━━━━━━━━━━━━━━╌╌╌╌╌╌╌╌ 66 %, 12 s left  loss 0.31
 *
 * Nothing is written where `to` is NULL or not a terminal. */
typedef struct nb_bar {
    FILE *to;
    const char *label; /* or NULL */
    bool ascii;
    /* What it knows; zeros at first. */
    bool shown;
    double last;
} nb_bar;

/* `seconds` have passed since the work began: a call within 0.1 s of the last line drawn does nothing,
 * unless all is done. total 0: nobody knows how much there is. text may be NULL. */
NB_API void nb_bar_draw(nb_bar *b, int64_t done, int64_t total, double seconds, const char *text);
/* Wipes the line, so that something else can be printed. It may be drawn again. */
NB_API void nb_bar_clear(nb_bar *b);

#ifdef __cplusplus
}
#endif
#endif
