/*
 * Small problems to learn, drawn at random. Row i has class i mod classes, and its place along the curve
 * of its class is drawn too, so that any number of rows is a fair sample:
 *
 *     moons     (cos t, sin t) and (1 - cos t, 1/2 - sin t), t in [0, pi)
 *     circles   r (cos t, sin t), r = 1 and 1/2, t in [0, 2 pi)
 *     spirals   r (cos t, sin t), t = 3 pi r + 2 pi class / classes, r = sqrt(u): even along the arm
 *     xor       (u, v) in [-1, 1)^2, 1 where the signs differ
 *     blobs     centre[class] + a normal deviate
 *     sine      y = sin(x), x in [-pi, pi)
 *
 * A coordinate's noise is normal. For sine it is added to y.
 */
#include "data/dataset.h"

#include "base/reason.h"

#include <math.h>

static const double pi = 3.14159265358979323846;

/* A table of m's rows; *made has the defaults filled in. */
static nb_code begin(const nb_make *m, nb_dataset like, int64_t classes, nb_make *made,
                     nbi_table **t, nb_dataset **out, nb_reason *why)
{
    *made = m ? *m : (nb_make){0};
    if (!out)
        return nbi_because(why, NB_ERR_ARGUMENT, "make: nowhere to put the data");
    *out = NULL;
    made->rows = made->rows ? made->rows : 1000;
    if (made->rows < 0 || classes < 0 || like.columns < 1 ||
        !(made->noise >= 0 && made->noise <= 1e300) ||
        (made->dtype != NB_F64 && made->dtype != NB_F32))
        return nbi_because(
            why, NB_ERR_ARGUMENT, "make: %lld rows, %lld columns, %lld classes, noise %g",
            (long long)made->rows, (long long)like.columns, (long long)classes, made->noise);
    like.dtype = made->dtype;
    like.classes = classes;
    nb_code code = nbi_table_new(&like, classes > 0, made->rows, made->allocator, t, why);
    if (code)
        return code;
    (*t)->d.rows = made->rows;
    for (int64_t i = 0; i < made->rows && classes; i++)
        (*t)->label[i] = i % classes;
    *out = &(*t)->d;
    return NB_OK;
}

typedef void place(nb_rng *r, int64_t label, int64_t classes, double *x, double *y);

/* Points of the plane. */
static nb_code make_plane(const nb_make *m, int64_t classes, place *where, nb_dataset **out,
                          nb_reason *why)
{
    nb_make made;
    nbi_table *t;
    nb_code code = begin(m, (nb_dataset){.columns = 2}, classes, &made, &t, out, why);
    nb_rng r = nb_rng_seed(made.seed);
    for (int64_t i = 0; i < made.rows && !code; i++) {
        double x, y;
        where(&r, t->label[i], classes, &x, &y);
        if (made.noise > 0) {
            x += made.noise * nb_rng_normal(&r);
            y += made.noise * nb_rng_normal(&r);
        }
        nbi_set_element(made.dtype, t->x, 2 * i, x);
        nbi_set_element(made.dtype, t->x, 2 * i + 1, y);
    }
    return code;
}

static void on_moon(nb_rng *r, int64_t label, int64_t classes, double *x, double *y)
{
    const double t = pi * nb_rng_uniform(r);
    (void)classes;
    *x = label ? 1 - cos(t) : cos(t);
    *y = label ? 0.5 - sin(t) : sin(t);
}

static void on_circle(nb_rng *r, int64_t label, int64_t classes, double *x, double *y)
{
    const double t = 2 * pi * nb_rng_uniform(r), radius = label ? 0.5 : 1;
    (void)classes;
    *x = radius * cos(t);
    *y = radius * sin(t);
}

static void on_spiral(nb_rng *r, int64_t label, int64_t classes, double *x, double *y)
{
    const double radius = sqrt(nb_rng_uniform(r));
    const double t = 3 * pi * radius + 2 * pi * (double)label / (double)classes;
    *x = radius * cos(t);
    *y = radius * sin(t);
}

/* The class is given; the point's quadrant follows from it and one random bit. */
static void in_quadrant(nb_rng *r, int64_t label, int64_t classes, double *x, double *y)
{
    const double side = nb_rng_uniform(r) < 0.5 ? -1 : 1;
    (void)classes;
    *x = side * (1 - nb_rng_uniform(r)); /* never 0 */
    *y = (label ? -side : side) * (1 - nb_rng_uniform(r));
}

nb_code nb_make_moons(const nb_make *m, nb_dataset **out, nb_reason *why)
{
    return make_plane(m, 2, on_moon, out, why);
}

nb_code nb_make_circles(const nb_make *m, nb_dataset **out, nb_reason *why)
{
    return make_plane(m, 2, on_circle, out, why);
}

nb_code nb_make_spirals(const nb_make *m, nb_dataset **out, nb_reason *why)
{
    return make_plane(m, m && m->classes ? m->classes : 2, on_spiral, out, why);
}

nb_code nb_make_xor(const nb_make *m, nb_dataset **out, nb_reason *why)
{
    return make_plane(m, 2, in_quadrant, out, why);
}

nb_code nb_make_blobs(const nb_make *m, nb_dataset **out, nb_reason *why)
{
    nb_make made;
    nbi_table *t;
    const int64_t classes = m && m->classes ? m->classes : 3;
    const nb_dataset like = {.columns = m && m->columns ? m->columns : 2};
    nb_code code = begin(m, like, classes, &made, &t, out, why);
    if (code)
        return code;
    const double noise = made.noise > 0 ? made.noise : 1;
    const nb_rng centres = nb_rng_seed(made.seed);
    nb_rng points = nb_rng_seed(~made.seed);
    for (int64_t i = 0; i < made.rows; i++) {
        nb_rng c = centres; /* drawn again for each row: nothing is kept */
        for (int64_t skip = t->label[i] * like.columns; skip > 0; skip--)
            nb_rng_uniform(&c);
        for (int64_t j = 0; j < like.columns; j++)
            nbi_set_element(made.dtype, t->x, i * like.columns + j,
                            20 * nb_rng_uniform(&c) - 10 + noise * nb_rng_normal(&points));
    }
    return NB_OK;
}

nb_code nb_make_sine(const nb_make *m, nb_dataset **out, nb_reason *why)
{
    nb_make made;
    nbi_table *t;
    nb_code code = begin(m, (nb_dataset){.columns = 1, .targets = 1}, 0, &made, &t, out, why);
    nb_rng r = nb_rng_seed(made.seed);
    for (int64_t i = 0; i < made.rows && !code; i++) {
        const double x = pi * (2 * nb_rng_uniform(&r) - 1);
        nbi_set_element(made.dtype, t->x, i, x);
        nbi_set_element(made.dtype, t->y, i, sin(x) + made.noise * nb_rng_normal(&r));
    }
    return code;
}
