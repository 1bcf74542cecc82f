/*
 * Finding the solution of an equation: Newton's method, and iteration of a fixed point.
 *
 * Newton's method replaces F by its tangent at y: F(y + s) = F(y) + A s + O(s^2), so A s = -F(y) leads
 * to a residual that is the square of the distance. Far away the step may be too long; but along it
 * |F| goes down at first, by as much as |F| itself per unit, so some part of it, found by halving,
 * lowers |F| by a fraction of what the tangent promises. Close to the solution the whole step is
 * taken, and each doubles the digits.
 *
 * A fixed point y = f(y) is iterated as it stands; with r = y - f(y) the step is -r. Anderson's
 * acceleration remembers the last changes of y and of r, and asks which combination of them would
 * have brought r nearest to 0 if r were linear:
 *
 *     c minimises |r - sum of c_j dr_j|,       y  <-  y - r - sum of c_j (dy_j - dr_j).
 *
 * For a linear f this is GMRES in disguise. The changes are made orthogonal one by one; one that
 * depends on those before it is left out.
 *
 * All of this works on plain arrays of doubles. What is recorded to evaluate the equation is
 * forgotten at once, so that only the node that nbi_implicit_node makes of the solution stays.
 */
#include "diff/equation.h"
#include "diff/implicit.h"

#include <nabla/ops.h>

#include <math.h>

enum { HISTORY = 16 };

/* A search under way. */
typedef struct search {
    nbi_equation e;
    nb_tape *t;
    const nb_var *x;
    nb_shape shape;
    size_t n, context_bytes;
    double *y, *r; /* [n] the unknowns, and F there */
    nb_solution found;
} search;

/* ---- arguments ------------------------------------------------------------------------------- */

static int or_default(int given, int usual) { return given ? given : usual; }

static bool sound(const nb_implicit_options *o, const void *context)
{
    return o->iterations >= 0 && o->restart >= 0 && o->products >= 0 && o->anderson >= 0 &&
           o->anderson <= HISTORY && o->tolerance >= 0 && o->linear_tolerance >= 0 &&
           (unsigned)o->solver <= NB_SOLVER_KRYLOV && (context || !o->context_bytes);
}

static void set_equation(search *s, const nb_implicit_options *o, const char *what,
                         bool fixed_point)
{
    const bool wide = s->t->dtype == NB_F64;
    nbi_equation *e = &s->e;
    e->name = o->name ? o->name : what;
    e->fixed_point = fixed_point;
    e->solver = o->solver;
    e->tolerance = o->tolerance > 0 ? o->tolerance : wide ? 1e-10 : 1e-5;
    e->linear_tolerance = o->linear_tolerance > 0 ? o->linear_tolerance : wide ? 1e-10 : 1e-4;
    e->iterations = or_default(o->iterations, fixed_point ? 1000 : 100);
    e->anderson = o->anderson;
    e->restart = or_default(o->restart, 50);
    e->products = o->products;
    s->context_bytes = o->context_bytes;
}

/* Checks the call, and reads the first y. */
static nb_code open_search(search *s, const char *what, bool fixed_point, nb_var y0,
                           const nb_implicit_options *o)
{
    nb_var inert;
    nb_tape *t = s->t;
    if (!s->e.fn || !s->e.n_x || !s->x || !sound(o, s->e.context))
        return nbi_fail(t, NB_ERR_ARGUMENT, "%s: an argument is NULL or out of its range", what);
    if (!nbi_home(what, s->e.n_x, s->x, &inert))
        return inert.tape ? NB_ERR_HANDLE
                          : nbi_fail(t, NB_ERR_HANDLE, "%s: all x are numbers, none a node", what);
    if (y0.tape ? y0.tape != t || !nbi_alive(t, y0) : nbi_is_inert(y0))
        return nbi_fail(t, NB_ERR_HANDLE, "%s: y is inert, stale or of another tape", what);
    s->shape = nb_shape_of(y0);
    s->n = (size_t)nb_size(y0);
    set_equation(s, o, what, fixed_point);
    s->y = nbi_scratch(t, s->n * sizeof *s->y);
    s->r = nbi_scratch(t, s->n * sizeof *s->r);
    if (!s->y || !s->r)
        return nbi_no_memory(t, what);
    if (y0.tape)
        return nb_read(y0, s->y, (int64_t)s->n);
    s->y[0] = nbi_number(y0);
    return NB_OK;
}

/* ---- evaluation ------------------------------------------------------------------------------ */

/* F at y, into r. */
static nb_code evaluate(search *s, const double *y, double *r)
{
    nb_tape *t = s->t;
    const nb_mark before = nbi_mark(t);
    const bool recording = nb_set_recording(t, false);
    nb_var at = nbi_constant_of(t, s->shape, y),
           f = nb_ok(at) ? nbi_equation_at(&s->e, at, s->x) : at;
    nb_code code = nb_ok(f) ? nb_read(f, r, (int64_t)s->n) : t->code ? t->code : NB_ERR_CALLBACK;
    nb_set_recording(t, recording);
    nbi_truncate(t, &before);
    return code;
}

static nb_code not_found(search *s, const char *why)
{
    return nbi_fail(s->t, NB_ERR_CONVERGENCE,
                    "%s: %s: after %d iterations the greatest residual is %.3g, the tolerance %.3g",
                    s->e.name, why, s->found.iterations, s->found.residual, s->e.tolerance);
}

/* ---- Newton's method ------------------------------------------------------------------------- */

/* Solves A step = F(y). */
static nb_code newton_step(search *s, double *step)
{
    nbi_point p;
    nb_tape *t = s->t;
    const nb_mark before = nbi_mark(t);
    nb_var at = nbi_constant_of(t, s->shape, s->y);
    nb_code code = nb_ok(at) ? nbi_point_open(&p, &s->e, at, s->x) : t->code;
    if (code == NB_OK)
        code = nbi_point_solve(&p, false, s->r, step, NULL);
    nbi_truncate(t, &before);
    return code;
}

/* |v|, without overflow on the way. */
static double length_of(size_t n, const double *v)
{
    const double most = nbi_greatest(n, v);
    double sum = 0;
    if (!(most > 0 && isfinite(most)))
        return most;
    for (size_t i = 0; i < n; i++)
        sum += (v[i] / most) * (v[i] / most);
    return most * sqrt(sum);
}

/* Moves by the longest of step, step/2, … that lowers |F| enough; part is 0 if there is none. Where
 * F is nearly flat the step is longer than y by any factor, and as many more halvings are due. */
static nb_code line_search(search *s, const double *step, double *part, double *y, double *r)
{
    const double size = length_of(s->n, s->r), far = nbi_greatest(s->n, step);
    const double near = 1 + nbi_greatest(s->n, s->y);
    const double least = 1e-10 * (far > near && isfinite(far) ? near / far : 1);
    for (*part = 1; *part > least; *part /= 2) {
        for (size_t i = 0; i < s->n; i++)
            y[i] = s->y[i] - *part * step[i];
        nb_code code = evaluate(s, y, r);
        if (code != NB_OK)
            return code;
        const double now = length_of(s->n, r);
        if (!(now < size && now <= (1 - 1e-4 * *part) * size))
            continue;
        memcpy(s->y, y, s->n * sizeof *y);
        memcpy(s->r, r, s->n * sizeof *r);
        return NB_OK;
    }
    *part = 0;
    return NB_OK;
}

/* One more whole step from within the tolerance, kept if it helps; the solution stands without. */
static void polish(search *s, double *step, double *y, double *r)
{
    const nb_code before = s->t->code;
    nb_code code = newton_step(s, step);
    for (size_t i = 0; i < s->n && code == NB_OK; i++)
        y[i] = s->y[i] - step[i];
    if (code == NB_OK)
        code = evaluate(s, y, r);
    if (code == NB_OK && nbi_greatest(s->n, r) < s->found.residual) {
        memcpy(s->y, y, s->n * sizeof *y);
        s->found.residual = nbi_greatest(s->n, r);
        s->found.iterations++;
    }
    if (before == NB_OK && code != NB_OK)
        nb_clear(s->t);
}

static nb_code newton(search *s)
{
    double part = 1, *step = nbi_scratch(s->t, s->n * sizeof *step);
    double *y = nbi_scratch(s->t, s->n * sizeof *y), *r = nbi_scratch(s->t, s->n * sizeof *r);
    if (!step || !y || !r)
        return nbi_no_memory(s->t, s->e.name);
    nb_code code = evaluate(s, s->y, s->r);
    for (; code == NB_OK; s->found.iterations++) {
        s->found.residual = nbi_greatest(s->n, s->r);
        if (s->found.residual <= s->e.tolerance)
            return polish(s, step, y, r), NB_OK;
        if (!isfinite(s->found.residual))
            return not_found(s, "the equation is not finite");
        if (part == 0)
            return not_found(s, "no part of Newton's step brings the residual down");
        if (s->found.iterations >= s->e.iterations)
            return not_found(s, "no convergence");
        code = newton_step(s, step);
        if (code == NB_OK)
            code = line_search(s, step, &part, y, r);
    }
    return code;
}

/* ---- fixed points ---------------------------------------------------------------------------- */

/* The last changes, in rings of m rows. */
typedef struct history {
    size_t n;
    int m, count, next;
    double *dy, *dr; /* [m n] */
    double *q;       /* [m n]: dr made orthonormal */
    double *left;    /* [n]: what is left of r */
} history;

static bool open_history(search *s, history *h)
{
    const size_t m = (size_t)s->e.anderson;
    size_t bytes;
    *h = (history){.n = s->n, .m = s->e.anderson};
    if (!m)
        return true;
    if (__builtin_mul_overflow(m * sizeof(double), s->n, &bytes))
        return false;
    h->dy = nbi_scratch(s->t, bytes);
    h->dr = nbi_scratch(s->t, bytes);
    h->q = nbi_scratch(s->t, bytes);
    h->left = nbi_scratch(s->t, s->n * sizeof *h->left);
    return h->dy && h->dr && h->q && h->left;
}

/* c minimises |r - sum of c_j dr_j|, by Gram and Schmidt's way. */
static void coefficients(history *h, const double *r, double *c)
{
    double upper[HISTORY][HISTORY];
    const size_t n = h->n;
    memcpy(h->left, r, n * sizeof *r);
    for (int j = 0; j < h->count; j++) {
        double *q = h->q + (size_t)j * n;
        memcpy(q, h->dr + (size_t)j * n, n * sizeof *q);
        const double size = sqrt(nbi_dot_of_vectors(n, q, q));
        for (int i = 0; i < j; i++) {
            const double *p = h->q + (size_t)i * n;
            upper[i][j] = nbi_dot_of_vectors(n, p, q);
            for (size_t k = 0; k < n; k++)
                q[k] -= upper[i][j] * p[k];
        }
        const double length = sqrt(nbi_dot_of_vectors(n, q, q));
        upper[j][j] = length > 1e-10 * size ? length : 0;
        for (size_t k = 0; k < n; k++)
            q[k] = upper[j][j] > 0 ? q[k] / length : 0;
        c[j] = nbi_dot_of_vectors(n, q, h->left);
        for (size_t k = 0; k < n; k++)
            h->left[k] -= c[j] * q[k];
    }
    for (int i = h->count; i-- > 0;) {
        for (int j = i + 1; j < h->count; j++)
            c[i] -= upper[i][j] * c[j];
        c[i] = upper[i][i] > 0 ? c[i] / upper[i][i] : 0;
    }
}

/* The next y after s->y, where the residual is s->r. */
static void next_point(search *s, history *h, double *y)
{
    double c[HISTORY];
    for (size_t i = 0; i < s->n; i++)
        y[i] = s->y[i] - s->r[i];
    if (!h->count)
        return;
    coefficients(h, s->r, c);
    for (int j = 0; j < h->count; j++)
        for (size_t i = 0; i < s->n; i++)
            y[i] -= c[j] * (h->dy[(size_t)j * s->n + i] - h->dr[(size_t)j * s->n + i]);
}

static void remember(search *s, history *h, const double *y, const double *r)
{
    if (!h->m)
        return;
    for (size_t i = 0; i < s->n; i++) {
        h->dy[(size_t)h->next * s->n + i] = y[i] - s->y[i];
        h->dr[(size_t)h->next * s->n + i] = r[i] - s->r[i];
    }
    h->next = (h->next + 1) % h->m;
    h->count = h->count < h->m ? h->count + 1 : h->m;
}

static nb_code iterate(search *s)
{
    history h;
    double *y = nbi_scratch(s->t, s->n * sizeof *y), *r = nbi_scratch(s->t, s->n * sizeof *r);
    if (!y || !r || !open_history(s, &h))
        return nbi_no_memory(s->t, s->e.name);
    nb_code code = evaluate(s, s->y, s->r);
    for (; code == NB_OK; s->found.iterations++) {
        s->found.residual = nbi_greatest(s->n, s->r);
        if (s->found.residual <= s->e.tolerance)
            return NB_OK;
        if (!isfinite(s->found.residual))
            return not_found(s, "the iteration is not finite");
        if (s->found.iterations >= s->e.iterations)
            return not_found(s, "no convergence");
        next_point(s, &h, y);
        code = evaluate(s, y, r);
        remember(s, &h, y, r);
        memcpy(s->y, y, s->n * sizeof *y);
        memcpy(s->r, r, s->n * sizeof *r);
    }
    return code;
}

/* ---- the calls ------------------------------------------------------------------------------- */

static nb_var run(search *s, const char *what, nb_var y0, const nb_implicit_options *o,
                  nb_code (*find)(search *s), bool fixed_point)
{
    const nb_implicit_options none = {0};
    o = o ? o : &none;
    for (size_t k = 0; s->x && k < s->e.n_x && !s->t; k++)
        s->t = s->x[k].tape;
    nb_tape *t = s->t = s->t ? s->t : y0.tape;
    const nbi_spot spot = t ? t->scratch.at : (nbi_spot){0};
    nb_var y = nbi_inert(t);
    nb_code code = open_search(s, what, fixed_point, y0, o);
    if (code == NB_OK && find) {
        const bool anomaly = t->anomaly;
        nb_set_anomaly(t, false);
        code = find(s);
        nb_set_anomaly(t, anomaly);
    }
    if (code == NB_OK)
        y = nbi_implicit_node(t, &s->e, s->shape, s->y, s->x, s->context_bytes);
    if (o->solution)
        *o->solution = s->found;
    if (t)
        nbi_give_back(&t->scratch, spot);
    return y;
}

nb_var nb_implicit(nb_equation F, void *context, nb_var y, size_t n_x, const nb_var *x,
                   const nb_implicit_options *options)
{
    search s = {.e = {.fn = F, .context = context, .n_x = n_x}, .x = x};
    return run(&s, "implicit", y, options, NULL, false);
}

nb_var nb_newton(nb_equation F, void *context, nb_var y0, size_t n_x, const nb_var *x,
                 const nb_implicit_options *options)
{
    search s = {.e = {.fn = F, .context = context, .n_x = n_x}, .x = x};
    return run(&s, "newton", y0, options, newton, false);
}

nb_var nb_fixed_point(nb_equation f, void *context, nb_var y0, size_t n_x, const nb_var *x,
                      const nb_implicit_options *options)
{
    search s = {.e = {.fn = f, .context = context, .n_x = n_x}, .x = x};
    return run(&s, "fixed_point", y0, options, iterate, true);
}
