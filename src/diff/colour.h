/*
 * Colourings: which columns, or rows, of a sparse matrix may share a sweep.
 */
#ifndef NABLA_SRC_DIFF_COLOUR_H
#define NABLA_SRC_DIFF_COLOUR_H

#include "diff/pattern.h"

/* Colours the columns of p so that no two with a place in one row are alike; q is p transposed.
 * *colours is their number. An empty column has none, UINT32_MAX. NULL where there is no memory. */
uint32_t *nbi_colour_columns(const nbi_pattern *p, const nbi_pattern *q, nbi_arena *work,
                             uint32_t *colours);
/* The fewest colours that any such colouring has: the places of the fullest row. */
size_t nbi_colours_least(const nbi_pattern *p);

/* A star colouring of the graph of symmetric p: neighbours differ, and every path of four vertices
 * has three colours. */
uint32_t *nbi_colour_star(const nbi_pattern *p, nbi_arena *work, uint32_t *colours);

#endif
