/*
 * Two arithmetics, one function.
 *
 * The same example is computed on two tapes: in float and in double, or on two instruction sets.
 * Inputs are representable in both, so what differs is rounding on the way. How much of it the
 * function itself magnifies is found by experiment: its inputs are moved by one unit of the coarser
 * arithmetic, up or down at random, and the result's greatest change is what any algorithm that
 * rounds its inputs must be forgiven. An algorithm is allowed some multiple of that, and a few
 * units of the result itself.
 */
#include "check/laws.h"

#include <math.h>

enum { SHAKES = 4, UNITS = 8, MANY = 16 };

typedef struct outcome {
    double *y, *g; /* [m] value, [n] gradient; g is all 0 for an op without a reverse rule */
} outcome;

static bool room_for(nbi_trial *c, outcome *o)
{
    o->y = nbi_vector(c, c->m);
    o->g = nbi_vector(c, c->n);
    for (size_t i = 0; o->g && i < c->n; i++)
        o->g[i] = 0;
    return o->y && o->g;
}

static bool evaluate(nbi_trial *c, nb_tape *t, double step, const double *direction, outcome *o)
{
    bool derive = c->op->reverse || c->op->reverse_arrays;
    if (nbi_build(c, t, step, direction) && nbi_value(c, o->y) &&
        (!derive || nbi_gradient(c, false, o->g)))
        return true;
    if (nb_status(t) != NB_OK)
        nbi_violate_message(c, NB_LAW_PRECISION, t);
    return false;
}

static void widen(size_t n, const double *from, const double *to, double *change)
{
    for (size_t i = 0; i < n; i++)
        if (fabs(to[i] - from[i]) > change[i])
            change[i] = fabs(to[i] - from[i]);
}

/* Fills `change` with the greatest changes of exact's figures under shakes of one unit, direction
 * [n] being the size of the inputs. */
static bool shake(nbi_trial *c, nb_tape *t, double unit, const outcome *exact, outcome *change)
{
    outcome moved;
    double *x = nbi_vector(c, c->n), *direction = nbi_vector(c, c->n);
    if (!x || !direction || !room_for(c, &moved))
        return false;
    for (size_t j = 0; j < c->s.n; j++)
        if (nb_read(c->s.in[j], x + c->at[j], (int64_t)(c->at[j + 1] - c->at[j])) != NB_OK)
            return false;
    for (size_t i = 0; i < c->m; i++)
        change->y[i] = 0;
    for (size_t i = 0; i < c->n; i++)
        change->g[i] = 0;
    nb_rng r = nb_rng_seed((uint64_t)c->k);
    for (int shakes = 0; shakes < SHAKES; shakes++) {
        for (size_t j = 0; j < c->s.n; j++)
            for (size_t i = c->at[j]; i < c->at[j + 1]; i++)
                direction[i] = c->fixed[j] ? 0 : nb_rng_bits(&r) & 1 ? x[i] : -x[i];
        if (!evaluate(c, t, unit, direction, &moved))
            return false;
        widen(c->m, exact->y, moved.y, change->y);
        widen(c->n, exact->g, moved.g, change->g);
    }
    return true;
}

/* Turns changes into what is allowed. */
static void allow(size_t n, double unit, const double *exact, double *change)
{
    double top = 0;
    for (size_t i = 0; i < n; i++)
        top = fmax(top, isfinite(change[i]) ? change[i] : 0);
    for (size_t i = 0; i < n; i++)
        change[i] = UNITS * (unit * fabs(exact[i]) + top) + MANY * change[i];
}

void nbi_law_precision(nbi_trial *c, nb_tape *reference, nb_tape *other, double unit)
{
    outcome exact, rounded, change;
    if (!nbi_build(c, reference, 0, NULL) || !room_for(c, &exact) || !room_for(c, &rounded) ||
        !room_for(c, &change) || !(c->u = nbi_random_seed(c)))
        return;
    if (!evaluate(c, reference, 0, NULL, &exact) || !shake(c, reference, unit, &exact, &change) ||
        !evaluate(c, other, 0, NULL, &rounded))
        return;
    allow(c->m, unit, exact.y, change.y);
    allow(c->n, unit, exact.g, change.g);
    bool derive = c->op->reverse || c->op->reverse_arrays;
    bool same = nbi_agree(c, NB_LAW_PRECISION,
                          &(nbi_pair){rounded.y, exact.y, "the value", "the reference's",
                                      .of_result = true, .each = change.y});
    if (same && derive)
        nbi_agree(
            c, NB_LAW_PRECISION,
            &(nbi_pair){rounded.g, exact.g, "the gradient", "the reference's", .each = change.g});
}
