/*
 * Digits drawn with a pen, as 8 by 8 images.
 *
 * A digit is one stroke, a line through points of the unit square, y downwards. A hand that is not
 * steady draws it: each point is moved a little, and the whole goes through
 *
 *     p -> centre + shift + R(angle) [1 slant; 0 1] diag(width, height) (p - 1/2)
 *
 * with everything random. A pen of random width leaves ink within a distance of the line; a pixel's grey
 * is the share of its area that the ink covers, found at 4 by 4 places within it, times 16. Noise is
 * added, and the result rounded to 0 to 16, the range of the well-known set of scanned digits.
 */
#include "data/dataset.h"

#include "base/reason.h"

#include <math.h>

enum { SIDE = 8, POINTS = 16, FINE = 4, DIGITS = 10 };

typedef struct stroke {
    int count;
    double at[POINTS][2];
} stroke;

static const stroke shapes[DIGITS] = {
    {9,
     {{.5, .07},
      {.3, .17},
      {.22, .5},
      {.3, .83},
      {.5, .93},
      {.7, .83},
      {.78, .5},
      {.7, .17},
      {.5, .07}}},
    {3, {{.34, .27}, {.55, .07}, {.55, .93}}},
    {8,
     {{.22, .28},
      {.32, .12},
      {.52, .07},
      {.72, .16},
      {.75, .34},
      {.6, .55},
      {.22, .92},
      {.8, .92}}},
    {9,
     {{.22, .13},
      {.5, .07},
      {.74, .2},
      {.7, .38},
      {.42, .48},
      {.72, .58},
      {.77, .78},
      {.52, .93},
      {.2, .86}}},
    {4, {{.64, .93}, {.64, .07}, {.2, .64}, {.84, .64}}},
    {8,
     {{.76, .08}, {.3, .08}, {.26, .46}, {.52, .4}, {.76, .54}, {.76, .78}, {.5, .93}, {.22, .86}}},
    {9,
     {{.68, .08},
      {.42, .2},
      {.25, .5},
      {.26, .78},
      {.48, .93},
      {.72, .82},
      {.74, .6},
      {.52, .48},
      {.28, .6}}},
    {4, {{.2, .09}, {.8, .09}, {.55, .5}, {.42, .93}}},
    {13,
     {{.5, .48},
      {.28, .32},
      {.34, .13},
      {.5, .07},
      {.68, .14},
      {.72, .32},
      {.5, .48},
      {.25, .66},
      {.3, .86},
      {.5, .93},
      {.72, .86},
      {.76, .66},
      {.5, .48}}},
    {9,
     {{.72, .38},
      {.52, .5},
      {.28, .4},
      {.28, .18},
      {.5, .07},
      {.72, .18},
      {.73, .4},
      {.68, .7},
      {.45, .93}}},
};

static double between(nb_rng *r, double low, double high)
{
    return low + (high - low) * nb_rng_uniform(r);
}

/* The stroke of a digit as this hand draws it, in units of pixels. */
static stroke draw(nb_rng *r, int64_t digit)
{
    stroke s = shapes[digit];
    const double angle = 0.1 * nb_rng_normal(r), slant = 0.13 * nb_rng_normal(r);
    const double width = SIDE * between(r, 0.75, 1.0), height = SIDE * between(r, 0.82, 1.0);
    const double dx = 0.25 * nb_rng_normal(r), dy = 0.25 * nb_rng_normal(r);
    for (int k = 0; k < s.count; k++) {
        const double v = (s.at[k][1] + 0.03 * nb_rng_normal(r) - 0.5) * height;
        const double u = (s.at[k][0] + 0.03 * nb_rng_normal(r) - 0.5) * width - slant * v;
        s.at[k][0] = SIDE / 2.0 + dx + cos(angle) * u - sin(angle) * v;
        s.at[k][1] = SIDE / 2.0 + dy + sin(angle) * u + cos(angle) * v;
    }
    return s;
}

/* The squared distance of a point from the segment between a and b. */
static double distance(const double *a, const double *b, double x, double y)
{
    const double dx = b[0] - a[0], dy = b[1] - a[1], length = dx * dx + dy * dy;
    double t = length > 0 ? ((x - a[0]) * dx + (y - a[1]) * dy) / length : 0;
    t = t < 0 ? 0 : t > 1 ? 1 : t;
    const double ex = a[0] + t * dx - x, ey = a[1] + t * dy - y;
    return ex * ex + ey * ey;
}

static double ink(const stroke *s, double radius, int column, int row)
{
    int covered = 0;
    for (int k = 0; k < FINE * FINE; k++) {
        const double x = column + (k % FINE + 0.5) / FINE, y = row + (k / FINE + 0.5) / FINE;
        int i = 1;
        while (i < s->count && distance(s->at[i - 1], s->at[i], x, y) > radius * radius)
            i++;
        covered += i < s->count;
    }
    return 16.0 * covered / (FINE * FINE);
}

nb_code nb_make_digits(const nb_make *m, nb_dataset **out, nb_reason *why)
{
    nbi_table *t;
    const nb_make made = m ? *m : (nb_make){0};
    const int64_t rows = made.rows ? made.rows : 1000;
    const double noise = made.noise > 0 ? made.noise : 1;
    const nb_dataset like = {.columns = SIDE * SIDE,
                             .shape = NB_SHAPE(SIDE, SIDE),
                             .classes = DIGITS,
                             .dtype = made.dtype};
    if (!out)
        return nbi_because(why, NB_ERR_ARGUMENT, "make: nowhere to put the data");
    *out = NULL;
    if (rows < 0 || !(made.noise >= 0 && noise < 1e9) ||
        (made.dtype != NB_F64 && made.dtype != NB_F32))
        return nbi_because(why, NB_ERR_ARGUMENT, "make: %lld digits, noise %g", (long long)rows,
                           made.noise);
    nb_code code = nbi_table_new(&like, true, rows, made.allocator, &t, why);
    if (code)
        return code;
    nb_rng r = nb_rng_seed(made.seed);
    for (int64_t i = 0; i < rows; i++) {
        const stroke s = draw(&r, i % DIGITS);
        const double radius = between(&r, 0.5, 0.85);
        t->label[i] = i % DIGITS;
        for (int k = 0; k < SIDE * SIDE; k++) {
            const double grey =
                round(ink(&s, radius, k % SIDE, k / SIDE) + noise * nb_rng_normal(&r));
            nbi_set_element(made.dtype, t->x, i * SIDE * SIDE + k,
                            grey < 0    ? 0
                            : grey > 16 ? 16
                                        : grey);
        }
    }
    t->d.rows = rows;
    *out = &t->d;
    return NB_OK;
}
