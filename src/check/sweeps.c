/*
 * What must be so between sweeps.
 *
 * The two modes evaluate one bilinear form, <u, J v> = <J^T u, v>: forward mode computes J v, the
 * backward sweep J^T u, and no difference quotient comes in, so the two agree to rounding. Random u
 * and v find any entry that is wrong.
 *
 * The backward sweep adds up: what reaches an input by two ways is the sum of what reaches it by
 * each. It replaces the gradients of the sweep before it unless it is asked to add to them, and it
 * leaves every borrowed gradient written.
 */
#include "check/laws.h"

#include <math.h>
#include <string.h>

/* ---- transposition --------------------------------------------------------------------------- */

typedef struct form {
    double value, terms; /* the sum, and the sum of sizes */
} form;

static form inner(size_t n, const double *a, const double *b)
{
    form f = {0, 0};
    for (size_t i = 0; i < n; i++) {
        f.value += a[i] * b[i];
        f.terms += fabs(a[i] * b[i]);
    }
    return f;
}

/* Names the entry of the gradient that forward mode disagrees with. */
static void accuse(nbi_trial *c, nb_tape *t, const double *g, double *jv, form a, form b)
{
    double *v = nbi_vector(c, c->n);
    for (size_t p = 0; v && p < c->n; p++) {
        for (size_t i = 0; i < c->n; i++)
            v[i] = i == p;
        c->v = v;
        if (!nbi_tangent(c, jv))
            break;
        form one = inner(c->m, c->u, jv);
        if (nbi_part(one.value, g[p], nbi_slack(t) * (one.terms + fabs(g[p]))) > 1) {
            nbi_violate(c, NB_LAW_TRANSPOSE,
                        "%s: %.17g by the backward sweep, %.17g by forward mode",
                        nbi_place_of(c, p).text, g[p], one.value);
            return;
        }
    }
    nbi_violate(c, NB_LAW_TRANSPOSE, "<J^T u, v> is %.17g and <u, J v> is %.17g", b.value, a.value);
}

void nbi_law_transpose(nbi_trial *c, nb_tape *t)
{
    if (!nbi_build(c, t, 0, NULL) || !nbi_derivable(c) ||
        !(c->op->reverse || c->op->reverse_arrays))
        return;
    double *jv = nbi_vector(c, c->m), *g = nbi_vector(c, c->n);
    c->u = nbi_random_seed(c);
    c->v = nbi_random_direction(c);
    if (!jv || !g || !c->u || !c->v)
        return;
    if (!nbi_tangent(c, jv) || !nbi_gradient(c, false, g)) {
        nbi_violate_message(c, NB_LAW_TRANSPOSE, t);
        return;
    }
    form a = inner(c->m, c->u, jv), b = inner(c->n, g, c->v);
    double part = nbi_part(a.value, b.value, nbi_slack(t) * (a.terms + b.terms));
    if (part <= 1)
        nbi_pass(c, NB_LAW_TRANSPOSE, part);
    else
        accuse(c, t, g, jv, a, b);
}

/* ---- accumulation ---------------------------------------------------------------------------- */

static double most(size_t n, const double *a)
{
    double top = 0;
    for (size_t i = 0; i < n; i++)
        top = fmax(top, isfinite(a[i]) ? fabs(a[i]) : 0);
    return top;
}

/* g [n] is the gradient of the sweep before. */
static void again(nbi_trial *c, nb_tape *t, double *g, double *h)
{
    if (!nbi_gradient(c, false, h)) {
        nbi_violate_message(c, NB_LAW_ACCUMULATION, t);
        return;
    }
    nbi_agree(c, NB_LAW_ACCUMULATION, &(nbi_pair){h, g, "the second sweep", "the first", .all = 0});
    if (!nbi_gradient(c, true, h)) {
        nbi_violate_message(c, NB_LAW_ACCUMULATION, t);
        return;
    }
    for (size_t i = 0; i < c->n; i++)
        h[i] /= 2;
    nbi_agree(c, NB_LAW_ACCUMULATION,
              &(nbi_pair){h, g, "half the accumulated gradient", "one sweep",
                          .all = nbi_slack(t) * most(c->n, g)});
}

/* Gradients in the caller's memory: all of it is written, with the same numbers. */
static void borrowed(nbi_trial *c, nb_tape *t, const double *g, double *h)
{
    memcpy(h, g, c->n * sizeof *h);
    if (!nbi_build_twisted(c, t, NBI_BORROWED))
        return;
    nb_sweep sweep = {.n_out = 1, .out = &c->y, .seed = &c->u};
    if (nb_backward_with(&sweep) != NB_OK) {
        nbi_violate_message(c, NB_LAW_ACCUMULATION, t);
        return;
    }
    for (size_t j = 0; j < c->s.n; j++)
        for (int64_t i = 0; i < c->buffer[j].size; i++)
            h[c->at[j] + (size_t)i] = c->buffer[j].dtype == NB_F64
                                          ? ((double *)c->buffer[j].data)[i]
                                          : (double)((float *)c->buffer[j].data)[i];
    nbi_agree(c, NB_LAW_ACCUMULATION,
              &(nbi_pair){h, g, "the borrowed gradient", "the tape's own", .all = 0});
}

/* One input in two places against two inputs of the same value. */
static void shared(nbi_trial *c, nb_tape *t, double *g, double *h)
{
    bool any = false;
    if (!nbi_build_twisted(c, t, NBI_TWIN))
        return;
    for (size_t j = 0; j < c->s.n; j++)
        any = any || c->twin[j] != j;
    if (!any)
        return;
    bool done = nbi_gradient(c, false, g);
    double allowed = nbi_slack(t) * most(c->n, g);
    done = done && nbi_build_twisted(c, t, NBI_SHARED) && nbi_gradient(c, false, h);
    if (!done) {
        nbi_violate_message(c, NB_LAW_ACCUMULATION, t);
        return;
    }
    for (size_t j = 0; j < c->s.n;
         j++) /* both vectors: the sum at the first, nothing at the second */
        for (size_t i = c->at[j], to = c->at[c->twin[j]]; c->twin[j] != j && i < c->at[j + 1];
             i++, to++) {
            g[to] += g[i];
            g[i] = h[i] = 0;
        }
    nbi_agree(c, NB_LAW_ACCUMULATION,
              &(nbi_pair){h, g, "the gradient of an operand in two places", "the sum of the two",
                          .all = allowed});
}

void nbi_law_accumulation(nbi_trial *c, nb_tape *t)
{
    if (!nbi_build(c, t, 0, NULL) || !nbi_derivable(c) ||
        !(c->op->reverse || c->op->reverse_arrays))
        return;
    double *g = nbi_vector(c, c->n), *h = nbi_vector(c, c->n);
    c->u = nbi_random_seed(c);
    if (!g || !h || !c->u)
        return;
    if (!nbi_gradient(c, false, g)) {
        nbi_violate_message(c, NB_LAW_ACCUMULATION, t);
        return;
    }
    again(c, t, g, h);
    borrowed(c, t, g, h);
    shared(c, t, g, h);
}
