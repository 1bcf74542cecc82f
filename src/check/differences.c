/*
 * Derivatives against differences that know how wrong they are.
 *
 * The central difference D(h) = (f(x + h v) - f(x - h v)) / 2h has an error in even powers of h, so
 * differences at h, h/2, h/4, … extrapolate to h = 0 by Neville's scheme,
 *
 *     T[i][0] = D(h / 2^i),     T[i][m] = T[i][m-1] + (T[i][m-1] - T[i-1][m-1]) / (4^m - 1),
 *
 * and the entry that differs least from its two neighbours is taken, with that difference as its
 * error (Ridders). Two figures agree within a relative 1e-8 and a multiple of that error. A
 * difference whose error is large says nothing, and a smaller h or another draw is tried. So it is
 * beside a kink, where f(x + h v) + f(x - h v) - 2 f(x) shrinks like h and not like h^2. A
 * disagreement counts when differences from another h confirm it.
 *
 * Two laws are of this kind: J v against differences of the value, and, with the swept gradient J^T
 * u as f, the gradient of <J^T u, v> as a graph against differences of the gradient: the Hessian is
 * symmetric.
 */
#include "check/laws.h"

#include <float.h>
#include <math.h>
#include <nabla/diff.h>
#include <string.h>

enum { POINTS = 2 * NBI_STAGES + 1, DRAWS = 8 };

typedef struct subject {
    nb_law law;
    bool of_gradient;
    bool (*moved)(nbi_trial *c, double step, double *f); /* [size] f(x + step v) */
    bool (*exact)(nbi_trial *c, double *d);              /* [size] its derivative by the step */
    const char *by;
} subject;

typedef enum verdict { AGREES, SILENT, KINK, DIFFERS, BROKEN } verdict;

typedef struct finding {
    size_t entry;
    double exact, estimate, error;
    double part; /* the worst of all entries, of what is allowed */
} finding;

double nbi_neville(double *row, int i, double value)
{
    double power = 1;
    for (int m = 0; m < i; m++) {
        const double above = row[m];
        row[m] = value;
        power *= 4;
        value += (value - above) / (power - 1);
    }
    return row[i] = value;
}

nbi_estimate nbi_extrapolate_noisy(int stages, const double *difference, double noise)
{
    double row[NBI_STAGES], above[NBI_STAGES];
    nbi_estimate best = {difference[0], (double)INFINITY, 0};
    for (int i = 0; i < stages; i++) {
        const double floor = ldexp(noise, i);
        memcpy(above, row, (size_t)i * sizeof *row);
        nbi_neville(row, i, difference[i]);
        for (int m = 1; m <= i; m++) {
            const double error = fmax(fabs(row[m] - row[m - 1]), fabs(row[m] - above[m - 1]));
            if (error + floor <= best.error + best.noise)
                best = (nbi_estimate){row[m], error, floor};
        }
    }
    return best;
}

nbi_estimate nbi_extrapolate(const double difference[NBI_STAGES])
{
    return nbi_extrapolate_noisy(NBI_STAGES, difference, 0);
}

/* What a figure adds to the scale of its vector. */
static double size(double x) { return isfinite(x) ? fabs(x) : 0; }

/* ---- one line through x ---------------------------------------------------------------------- */

/* f[0] at x, f[2i + 1] and f[2i + 2] at x +- h/2^i v. */
static bool walk(nbi_trial *c, const subject *s, double h, double *f[POINTS])
{
    bool done = s->moved(c, 0, f[0]);
    for (int i = 0; i < NBI_STAGES && done; i++) {
        double step = ldexp(h, -i);
        done = s->moved(c, step, f[2 * i + 1]) && s->moved(c, -step, f[2 * i + 2]);
    }
    return done;
}

static bool kinked(double *const f[POINTS], double h, size_t j, double scale)
{
    double bend[2];
    for (int i = 0; i < 2; i++) {
        int k = 2 * (NBI_STAGES - 2 + i);
        bend[i] = fabs(f[k + 1][j] + f[k + 2][j] - 2 * f[0][j]) / ldexp(h, 2 - NBI_STAGES - i);
    }
    return bend[1] > 1e-6 * scale && bend[1] > 0.75 * bend[0];
}

static verdict judge(double *const f[POINTS], double h, size_t j, double scale, finding *at)
{
    double difference[NBI_STAGES], most = 0;
    for (int i = 0; i < NBI_STAGES; i++) {
        difference[i] = (f[2 * i + 1][j] - f[2 * i + 2][j]) / ldexp(h, 1 - i);
        most = fmax(most, fmax(fabs(f[2 * i + 1][j]), fabs(f[2 * i + 2][j])));
    }
    nbi_estimate e = nbi_extrapolate(difference);
    double error = 10 * e.error + 16 * DBL_EPSILON * most / ldexp(h, 1 - NBI_STAGES);
    scale = fmax(scale, fabs(e.value));
    if (!(error <= 1e-5 * scale))
        return SILENT;
    double allowed = error + 1e-8 * fmax(fabs(e.value), fabs(at->exact));
    double part = nbi_part(at->exact, e.value, allowed);
    at->part = fmax(at->part, part);
    if (part <= 1)
        return AGREES;
    at->entry = j;
    at->estimate = e.value;
    at->error = error;
    return kinked(f, h, j, scale) ? KINK : DIFFERS;
}

/* The derivative along c->v against differences from step h on. */
static verdict compare(nbi_trial *c, const subject *s, double h, finding *at)
{
    const size_t n = s->of_gradient ? c->n : c->m;
    double *f[POINTS], *d = nbi_vector(c, n), scale = 0;
    bool room = d != NULL;
    for (int i = 0; i < POINTS && room; i++)
        room = (f[i] = nbi_vector(c, n)) != NULL;
    if (!room)
        return BROKEN;
    if (!walk(c, s, h, f) || !s->exact(c, d)) {
        nbi_violate_message(c, s->law, c->tape[NB_F64]);
        return BROKEN;
    }
    for (size_t j = 0; j < n; j++)
        scale = fmax(scale, fmax(size(d[j]), size(f[0][j])));
    bool silent = false;
    at->part = 0;
    for (size_t j = 0; j < n; j++) {
        at->exact = d[j];
        verdict one = judge(f, h, j, scale, at);
        if (one == KINK || one == DIFFERS)
            return one;
        silent = silent || one == SILENT;
    }
    return silent ? SILENT : AGREES;
}

/* ---- the law --------------------------------------------------------------------------------- */

/* Names an operand by trying directions along one axis each; reports. */
static void accuse(nbi_trial *c, const subject *s, double h, finding at)
{
    size_t p = 0;
    double *v = nbi_vector(c, c->n);
    nbi_place axis = {"a mixed direction"};
    for (; v && p < c->n; p++) {
        finding one = {0};
        nbi_spot spot = c->work.at;
        for (size_t i = 0; i < c->n; i++)
            v[i] = i == p && c->v[i] != 0;
        const double *mixed = c->v;
        c->v = v;
        verdict found = mixed[p] != 0 ? compare(c, s, h, &one) : AGREES;
        c->v = mixed;
        nbi_give_back(&c->work, spot);
        if (found == DIFFERS) {
            at = one;
            axis = nbi_place_of(c, p);
            break;
        }
    }
    nbi_place entry = nbi_place_of(c, s->of_gradient ? at.entry : c->n + at.entry);
    nbi_violate(c, s->law, "%s%s, derived by %s, is %.17g by %s and %.17g +- %.1e by differences",
                s->of_gradient ? "the gradient by " : "", entry.text, axis.text, at.exact, s->by,
                at.estimate, at.error);
}

/* One draw of the example, from large steps to small. */
static verdict try_draw(nbi_trial *c, const subject *s)
{
    verdict found = SILENT;
    finding at = {0};
    double h = 0x1p-6;
    for (int i = 0; i < 3 && found == SILENT; i++, h /= 16) {
        nbi_spot spot = c->work.at;
        found = compare(c, s, h, &at);
        nbi_give_back(&c->work, spot);
        if (found == AGREES)
            nbi_pass(c, s->law, at.part);
        if (found == DIFFERS && compare(c, s, 0.7 * h, &at) != DIFFERS)
            found = KINK; /* noise, or waves as long as the step */
        if (found == DIFFERS)
            accuse(c, s, h, at);
    }
    return found;
}

static void hold(nbi_trial *c, const subject *s)
{
    verdict found = SILENT;
    for (c->draw = 0; c->draw < DRAWS && (found == SILENT || found == KINK); c->draw++) {
        nbi_spot spot = c->work.at;
        if (!nbi_build(c, c->tape[NB_F64], 0, NULL) || !nbi_derivable(c))
            break;
        c->u = nbi_random_seed(c);
        c->v = nbi_random_direction(c);
        found = c->u && c->v ? try_draw(c, s) : BROKEN;
        nbi_give_back(&c->work, spot);
    }
    if (c->draw == DRAWS && (found == SILENT || found == KINK))
        nbi_untested(c, s->law);
    c->draw = 0;
}

/* ---- the two subjects ------------------------------------------------------------------------ */

static bool value_at(nbi_trial *c, double step, double *f)
{
    return nbi_build(c, c->tape[NB_F64], step, c->v) && nbi_value(c, f);
}

static bool value_slope(nbi_trial *c, double *d)
{
    return nbi_build(c, c->tape[NB_F64], 0, NULL) && nbi_tangent(c, d);
}

/* Derivatives by integer parameters are nobody's derivative. */
static bool clear_fixed(const nbi_trial *c, double *g)
{
    for (size_t j = 0; j < c->s.n; j++)
        for (size_t i = c->at[j]; c->fixed[j] && i < c->at[j + 1]; i++)
            g[i] = 0;
    return true;
}

static bool gradient_at(nbi_trial *c, double step, double *f)
{
    return nbi_build(c, c->tape[NB_F64], step, c->v) && nbi_gradient(c, false, f) &&
           clear_fixed(c, f);
}

/* Records the gradient of <u, y> by every input. */
static bool graph_gradient(nbi_trial *c, nb_var grad[NBI_SAMPLES])
{
    nb_var seed = nb_is_tensor(c->y) ? nb_constant_tensor(c->y.tape, nb_shape_of(c->y), c->u)
                                     : nb_num(c->u[0]);
    return nb_diff(1, &c->y, &seed, c->s.n, c->s.in, grad) == NB_OK;
}

static bool gradient_slope(nbi_trial *c, double *d)
{
    nb_var grad[NBI_SAMPLES];
    const double *seed[NBI_SAMPLES];
    if (!nbi_build(c, c->tape[NB_F64], 0, NULL) || !graph_gradient(c, grad))
        return false;
    for (size_t j = 0; j < c->s.n; j++)
        seed[j] = c->v + c->at[j];
    nb_sweep sweep = {.n_out = c->s.n, .out = grad, .seed = seed};
    return nb_backward_with(&sweep) == NB_OK && nbi_read_gradients(c, d) && clear_fixed(c, d);
}

void nbi_law_differences(nbi_trial *c)
{
    static const subject s = {NB_LAW_DIFFERENCES, false, value_at, value_slope, "forward mode"};
    hold(c, &s);
}

void nbi_law_second_order(nbi_trial *c)
{
    static const subject s = {NB_LAW_SECOND_ORDER, true, gradient_at, gradient_slope,
                              "the gradient of the gradient"};
    if (c->op->reverse)
        hold(c, &s);
}

/* The gradient as a graph against the swept one. */
void nbi_law_graph(nbi_trial *c, nb_tape *t)
{
    nb_var grad[NBI_SAMPLES];
    double *graph = nbi_vector(c, c->n), *swept = nbi_vector(c, c->n),
           *allowed = nbi_vector(c, c->n);
    if (!c->op->reverse || !graph || !swept || !allowed || !nbi_build(c, t, 0, NULL) ||
        !nbi_derivable(c) || !(c->u = nbi_random_seed(c)))
        return;
    bool done = nbi_gradient(c, false, swept) && graph_gradient(c, grad);
    for (size_t j = 0; j < c->s.n && done; j++)
        done = nb_read(grad[j], graph + c->at[j], (int64_t)(c->at[j + 1] - c->at[j])) == NB_OK;
    if (!done) {
        nbi_violate_message(c, NB_LAW_SECOND_ORDER, t);
        return;
    }
    for (size_t j = 0; j < c->s.n; j++) {
        double most = 1;
        for (size_t i = c->at[j]; i < c->at[j + 1]; i++)
            most = fmax(most, size(swept[i]));
        for (size_t i = c->at[j]; i < c->at[j + 1]; i++)
            allowed[i] = nbi_slack(t) * most;
    }
    nbi_agree(c, NB_LAW_SECOND_ORDER,
              &(nbi_pair){graph, swept, "the gradient as a graph", "the backward sweep",
                          .each = allowed});
}
