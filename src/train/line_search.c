/*
 * Line searches: with phi(a) = f(x + a d), a step a such that
 *
 *     phi(a) <= phi(0) + c1 a phi'(0)        f falls enough (Armijo)
 *     |phi'(a)| <= c2 |phi'(0)|              and the slope has flattened (strong Wolfe)
 *
 * Wolfe's search has two ends. `low` is the best step so far that falls enough, and a step that fulfils
 * both lies between it and `high`, once there is one: where f no longer falls enough, or rises. Until then
 * steps double. In the bracket the next step is the minimum of the cubic that has the values and slopes
 * of both ends, or the middle, if that lies outside or within a tenth of an end; so the bracket
 * shrinks whatever f does.
 *
 * Where values differ by rounding alone, falling enough cannot be seen: so f may rise by that much. What
 * is not finite is a value above all others.
 */
#include "ops/product.h"
#include "train/line_search.h"

#include <float.h>
#include <math.h>

enum { TRIES = 60 };
static const double c1 = 1e-4, c2 = 0.9;

typedef struct point {
    double a, f, slope;
} point;

/* Stands at step a. False if the objective fails, or may not be called any more. */
static bool stand(nbi_line *l, double a, point *p)
{
    if (l->calls >= l->most)
        return false;
    for (int64_t k = 0; k < l->n; k++)
        l->there[k] = a == 0 ? l->x[k] : l->x[k] + a * l->d[k];
    l->calls++;
    l->f_there = (double)NAN;
    l->code = l->objective(l->context, l->there, &l->f_there, l->gradient);
    bool finite = isfinite(l->f_there);
    for (int64_t k = 0; k < l->n; k++)
        finite = finite && isfinite(l->gradient[k]);
    l->f_there = finite ? l->f_there : (double)INFINITY;
    *p = (point){a, l->f_there,
                 finite ? nbi_dot(NB_F64, l->n, l->gradient, l->d) : (double)INFINITY};
    return l->code == NB_OK;
}

static bool falls_enough(const nbi_line *l, const point *p)
{
    return p->f <= l->f + c1 * p->a * l->slope + 4 * DBL_EPSILON * fabs(l->f);
}

static double between(const point *p, const point *q)
{
    const double width = q->a - p->a;
    const double u = p->slope + q->slope - 3 * (p->f - q->f) / (p->a - q->a);
    const double v = copysign(sqrt(u * u - p->slope * q->slope), width);
    const double x = 1 - (q->slope + v - u) / (q->slope - p->slope + 2 * v);
    return p->a + width * (x >= 0.1 && x <= 0.9 ? x : 0.5);
}

static bool wolfe(nbi_line *l, double first)
{
    point low = {0, l->f, l->slope}, high = low, p;
    bool bracket = false;
    double a = first;
    for (int k = 0; k < TRIES && a != low.a && a < DBL_MAX; k++) {
        if (!stand(l, a, &p))
            return false;
        if (!falls_enough(l, &p) || (low.a > 0 && p.f >= low.f + 4 * DBL_EPSILON * fabs(l->f))) {
            high = p;
            bracket = true;
        } else if (fabs(p.slope) <= -c2 * l->slope) {
            return true;
        } else {
            if (bracket ? p.slope * (high.a - low.a) >= 0 : p.slope >= 0) {
                high = low;
                bracket = true;
            }
            low = p;
        }
        a = bracket ? between(&low, &high) : 2 * a;
    }
    return low.a > 0 && (p.a == low.a || stand(l, low.a, &p));
}

static bool armijo(nbi_line *l, double first)
{
    point p;
    double a = first;
    for (int k = 0; k < TRIES; k++, a /= 2) {
        if (!stand(l, a, &p))
            return false;
        if (falls_enough(l, &p))
            return true;
    }
    return false;
}

bool nbi_line_begin(nbi_line *l)
{
    point p;
    return stand(l, 0, &p);
}

bool nbi_line_search(nbi_line *l, nb_line_search kind, double first)
{
    return kind == NB_WOLFE ? wolfe(l, first) : armijo(l, first);
}
