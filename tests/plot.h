/*
 * What the tests of plots share: a plot, drawn into memory.
 */
#ifndef NABLA_TESTS_PLOT_H
#define NABLA_TESTS_PLOT_H

#include "reason.h"

#include <math.h>
#include <nabla/plot.h>
#include <stdio.h>
#include <stdlib.h>

static const double none = (double)NAN, inf = (double)INFINITY;

static inline char *drawn(const nb_plot *p, nb_code (*draw)(FILE *, const nb_plot *, nb_reason *))
{
    char *text = NULL;
    size_t size;
    nb_reason why = {""};
    FILE *to = open_memstream(&text, &size);
    fine(draw(to, p, &why), &why);
    fclose(to);
    return text;
}

#endif
