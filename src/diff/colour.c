/*
 * Colouring: few sweeps for a sparse matrix.
 *
 * A sweep along the direction d gives J d. If d is the sum of the unit vectors of some columns, no
 * two of which have a place in the same row, every number of J d is one number of J: the columns
 * share a sweep. So the columns are coloured, those that meet in a row differently, and there are
 * as many sweeps as colours (Curtis, Powell and Reid). Rows share a reverse sweep in the same way:
 * the transpose's columns.
 *
 * A Hessian is symmetric, and each of its numbers stands at two places, so less is enough: of the
 * two one must be alone in its row with its colour. That is so for all numbers if neighbours in the
 * graph of the matrix differ and no path of four vertices has two colours only: a star colouring
 * (Coleman and More). For let i and j be neighbours, and i have another neighbour y coloured as j,
 * and j another neighbour x coloured as i; then y, i, j, x is such a path.
 *
 * Both greedily: vertices in the order of how many they conflict with, most first, each gets the
 * least colour that is free. Fewest colours are hard to find; this finds few.
 */
#include "diff/colour.h"

#define NONE UINT32_MAX

static uint32_t *words(nbi_arena *a, size_t n, uint32_t value)
{
    uint32_t *p = n < SIZE_MAX / sizeof *p ? nbi_take(a, (n + 1) * sizeof *p, sizeof *p) : NULL;
    for (size_t k = 0; p && k < n; k++)
        p[k] = value;
    return p;
}

/* The vertices [0, n) by descending degree, equal ones in their own order; degrees are cut at n. */
static uint32_t *largest_first(size_t n, uint32_t *degree, nbi_arena *work)
{
    uint32_t *start = words(work, n + 2, 0), *order = words(work, n, 0);
    if (!start || !order)
        return NULL;
    for (size_t v = 0; v < n; v++) {
        degree[v] = degree[v] < n ? degree[v] : (uint32_t)n;
        start[n - degree[v] + 1]++;
    }
    for (size_t d = 1; d <= n; d++)
        start[d] += start[d - 1];
    for (size_t v = 0; v < n; v++)
        order[start[n - degree[v]]++] = (uint32_t)v;
    return order;
}

size_t nbi_colours_least(const nbi_pattern *p)
{
    size_t most = 0;
    for (size_t r = 0; r < p->rows; r++) {
        const size_t n = p->row_start[r + 1] - p->row_start[r];
        most = n > most ? n : most;
    }
    return most;
}

/* The least colour that vertex v has not forbidden. */
static uint32_t least_free(const uint32_t *forbidden, uint32_t v)
{
    uint32_t c = 0;
    while (forbidden[c] == v)
        c++;
    return c;
}

/* How many places the rows of column c have besides, at most UINT32_MAX. */
static uint32_t conflicts(const nbi_pattern *p, const nbi_pattern *q, size_t c)
{
    size_t n = 0;
    for (size_t k = q->row_start[c]; k < q->row_start[c + 1]; k++) {
        const uint32_t r = q->column[k];
        n += p->row_start[r + 1] - p->row_start[r] - 1;
    }
    return n < UINT32_MAX ? (uint32_t)n : UINT32_MAX;
}

uint32_t *nbi_colour_columns(const nbi_pattern *p, const nbi_pattern *q, nbi_arena *work,
                             uint32_t *colours)
{
    const size_t n = p->columns;
    uint32_t *colour = words(work, n, NONE), *forbidden = words(work, n + 1, NONE);
    uint32_t *degree = words(work, n, 0);
    *colours = 0;
    if (!colour || !forbidden || !degree)
        return NULL;
    if (2 * nbi_colours_least(p) > n) { /* there is little to gain, at the cost of a square */
        for (size_t c = 0; c < n; c++)
            colour[c] = q->row_start[c] == q->row_start[c + 1] ? NONE : (*colours)++;
        return colour;
    }
    for (size_t c = 0; c < n; c++)
        degree[c] = conflicts(p, q, c);
    const uint32_t *order = largest_first(n, degree, work);
    for (size_t at = 0; order && at < n; at++) {
        const uint32_t c = order[at];
        for (size_t k = q->row_start[c]; k < q->row_start[c + 1]; k++)
            for (size_t j = p->row_start[q->column[k]]; j < p->row_start[q->column[k] + 1]; j++)
                if (colour[p->column[j]] != NONE)
                    forbidden[colour[p->column[j]]] = c;
        if (q->row_start[c] == q->row_start[c + 1])
            continue; /* an empty column takes part in no sweep */
        colour[c] = least_free(forbidden, c);
        *colours = colour[c] >= *colours ? colour[c] + 1 : *colours;
    }
    return order ? colour : NULL;
}

/* ---- star colouring -------------------------------------------------------------------------- */

typedef struct stars {
    const nbi_pattern *p;
    uint32_t *colour, *forbidden, *members; /* members: of each colour */
} stars;

/* Whether w's neighbour x has another neighbour coloured as w. */
static bool second_of(const stars *s, uint32_t w, uint32_t x)
{
    for (size_t k = s->p->row_start[x]; k < s->p->row_start[x + 1]; k++) {
        const uint32_t y = s->p->column[k];
        if (y != w && y != x && s->colour[y] == s->colour[w])
            return true;
    }
    return false;
}

/* Forbids v the colours of its neighbours, and those with which it would end a path of four in two
 * colours: of x in v, w, x, y with y coloured as w; and of x in x, w, v where w may still get any.
 * */
static void forbid(const stars *s, uint32_t v)
{
    const size_t *start = s->p->row_start;
    const uint32_t *column = s->p->column;
    for (size_t k = start[v]; k < start[v + 1]; k++) {
        const uint32_t w = column[k];
        const bool known = s->colour[w] != NONE;
        if (known)
            s->forbidden[s->colour[w]] = v;
        if (w == v || (known && s->members[s->colour[w]] == 1))
            continue; /* alone in its colour, w is on no such path */
        for (size_t j = start[w]; j < start[w + 1]; j++) {
            const uint32_t x = column[j];
            if (x != v && x != w && s->colour[x] != NONE && s->forbidden[s->colour[x]] != v &&
                (!known || second_of(s, w, x)))
                s->forbidden[s->colour[x]] = v;
        }
    }
}

uint32_t *nbi_colour_star(const nbi_pattern *p, nbi_arena *work, uint32_t *colours)
{
    const size_t n = p->rows;
    stars s = {p, words(work, n, NONE), words(work, n + 1, NONE), words(work, n, 0)};
    uint32_t *degree = words(work, n, 0);
    *colours = 0;
    if (!s.colour || !s.forbidden || !s.members || !degree)
        return NULL;
    for (size_t v = 0; v < n; v++)
        degree[v] = (uint32_t)(p->row_start[v + 1] - p->row_start[v]);
    const uint32_t *order = largest_first(n, degree, work);
    for (size_t at = 0; order && at < n; at++) {
        const uint32_t v = order[at];
        if (!degree[v])
            continue; /* an empty row */
        forbid(&s, v);
        s.colour[v] = least_free(s.forbidden, v);
        s.members[s.colour[v]]++;
        *colours = s.colour[v] >= *colours ? s.colour[v] + 1 : *colours;
    }
    return order ? s.colour : NULL;
}
