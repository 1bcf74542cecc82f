/*
 * Looking at every node of a recording for the first that behaves as no smooth operation does.
 *
 * Along a line, a smooth value has y(h) + y(-h) - 2 y(0) = O(h^2) and y(h) - y(-h) = O(h). Where the
 * first is as large as h, the value has a kink, where the second does not shrink, a jump. A node that
 * does this though none of its operands does is where it comes from: the maximum whose winner
 * changes, the comparison, the branch of an operation of the user's. So no list of operations with
 * kinks is needed. If the recordings differ in their nodes, the first that differs is a branch of the
 * program itself.
 *
 * In the same way the first value that is not finite is found, and the first operation, in the order
 * of the sweep, that passes on an adjoint which is not.
 */
#include "check/verify_graph.h"

#include <math.h>
#include <stdio.h>

static double element(const nb_tape *t, uint32_t i, size_t e)
{
    float rounded;
    const nb_array a = nbi_array_of(t, i, &rounded);
    return a.rank < 0          ? t->hot.cells[i].value
           : a.dtype == NB_F64 ? ((double *)a.data)[e]
                               : (double)((float *)a.data)[e];
}

static size_t elements(const nb_tape *t, uint32_t i)
{
    return nbi_is_tensor(t, i) ? (size_t)nbi_record_at(t, i)->size : 1;
}

void nbi_graph_reach(const nb_tape *t, uint32_t y, bool *on)
{
    memset(on, 0, (size_t)y + 1);
    on[y] = true;
    for (uint32_t i = y + 1; i-- > 0;)
        for (size_t k = 0; on[i] && k < nbi_operands(t, i); k++)
            on[nbi_operand(t, i, k)] = true;
}

/* ---- kinks and jumps ------------------------------------------------------------------------- */

/* Of the values at 0, h, -h, h/2, -h/2: whether they bend or jump. */
static bool bends(nb_tape *const t[NBI_POINTS], uint32_t i, size_t e)
{
    double y[NBI_POINTS], most = 0;
    for (int k = 0; k < NBI_POINTS; k++) {
        y[k] = element(t[k], i, e);
        most = fmax(most, fabs(y[k]));
    }
    const double unit = t[0]->dtype == NB_F64 ? 0x1p-52 : 0x1p-23, floor = 64 * unit * most;
    const double wide = y[1] + y[2] - 2 * y[0], narrow = y[3] + y[4] - 2 * y[0];
    const double across = y[1] - y[2], within = y[3] - y[4];
    const double span = fmax(fabs(y[1] - y[0]), fabs(y[2] - y[0]));
    const bool kink =
        fabs(narrow) > floor && fabs(narrow) > 0.35 * fabs(wide) && fabs(narrow) > 1e-3 * span;
    const bool jump = fabs(within) > floor && fabs(within) > 0.75 * fabs(across);
    return kink || jump;
}

static bool any_bends(nb_tape *const t[NBI_POINTS], uint32_t i)
{
    const size_t n = elements(t[0], i);
    for (size_t e = 0; e < n; e++)
        if (bends(t, i, e))
            return true;
    return false;
}

/* Whether node i is the same operation on all of the tapes. */
static bool same_node(nb_tape *const t[NBI_POINTS], uint32_t i)
{
    for (int k = 1; k < NBI_POINTS; k++) {
        if (i >= t[k]->hot.length || t[k]->hot.ops[i] != t[0]->hot.ops[i] ||
            nbi_row_of(t[k], i) != nbi_row_of(t[0], i) || elements(t[k], i) != elements(t[0], i))
            return false;
        if (t[0]->hot.ops[i] == NBI_RECORD &&
            strcmp(nbi_record_at(t[k], i)->op->name, nbi_record_at(t[0], i)->op->name) != 0)
            return false;
    }
    return true;
}

void nbi_graph_bend(nbi_verify *c, const nbi_line *line, double h, nb_check_place *at)
{
    static const double by[NBI_POINTS] = {0, 1, -1, 0.5, -0.5};
    nbi_graph *g = c->self;
    nb_tape *const *t = g->tape + 1;
    nb_var y = NB_NONE, other;
    bool done = true;
    for (int k = 0; k < NBI_POINTS && done; k++) {
        nbi_go(c, line, by[k] * h);
        done = nbi_graph_record(c, 1 + k, c->at, k ? &other : &y);
        c->r->evaluations++;
    }
    nbi_go(c, line, 0);
    const nbi_spot spot = c->work.at;
    bool *on = done ? nbi_take(&c->work, (size_t)y.index + 1, 1) : NULL;
    if (on)
        nbi_graph_reach(t[0], y.index, on);
    for (uint32_t i = 0; on && i <= y.index && !at->found; i++)
        if (!same_node(t, i) || (on[i] && nbi_operands(t[0], i) && any_bends(t, i)))
            *at = nbi_place_at(t[0], i, -1);
    at->node += at->found && g->lent ? g->start.length : 0;
    nbi_give_back(&c->work, spot);
}

/* ---- paths that are cut ------------------------------------------------------------------------ */

/* A constant that has another value where the inputs have: in the order of the sweep. */
void nbi_graph_cut(nbi_verify *c, uint32_t y, const bool *on)
{
    nb_var other;
    nbi_graph *g = c->self;
    const nb_tape *a = g->tape[0], *b = g->tape[1];
    const uint32_t base = g->lent ? g->start.length : 0;
    const nbi_line line = {c->unit, 0};
    nbi_go(c, &line, 0.01);
    const bool done = nbi_graph_record(c, 1, c->at, &other);
    nbi_go(c, &line, 0);
    for (uint32_t i = y + 1; done && i-- > 0 && !c->r->at.found;) {
        float ra, rb;
        if (!on[i] || !nbi_still(a, i) || i < base || i - base >= b->hot.length)
            continue;
        const nb_array p = nbi_array_of(a, i, &ra), q = nbi_array_of(b, i - base, &rb);
        bool same = p.size == q.size;
        for (int64_t e = 0; e < p.size && same; e++)
            same = element(a, i, (size_t)e) == element(b, i - base, (size_t)e);
        if (same)
            continue;
        c->r->at = nbi_place_at(g->tape[0], i, -1);
        c->r->diagnosis = NB_DIAGNOSIS_CUT;
        snprintf(c->r->message, sizeof c->r->message,
                 "node %u is a constant to the sweep, and changes with the inputs", i);
    }
}

/* ---- not finite ------------------------------------------------------------------------------ */

static bool finite_value(const nb_tape *t, uint32_t i)
{
    const size_t n = elements(t, i);
    for (size_t e = 0; e < n; e++)
        if (!isfinite(element(t, i, e)))
            return false;
    return true;
}

/* Whether what node i passes to its operands for ones is finite. */
static bool finite_rule(nbi_verify *c, nb_tape *t, uint32_t i)
{
    const nbi_spot spot = c->work.at;
    bool finite = true;
    double *one = nbi_doubles(c, elements(t, i));
    for (size_t e = 0; one && e < elements(t, i); e++)
        one[e] = 1;
    if (one && nbi_local_sweep(t, i, one, false))
        for (size_t k = 0; k < nbi_operands(t, i) && finite; k++) {
            const uint32_t x = nbi_operand(t, i, k);
            double *d = nbi_doubles(c, elements(t, x));
            if (d)
                nbi_local_read(t, x, d, elements(t, x));
            for (size_t e = 0; d && e < elements(t, x); e++)
                finite = finite && isfinite(d[e]);
        }
    nbi_give_back(&c->work, spot);
    return finite;
}

void nbi_graph_not_finite(nbi_verify *c, const double *x, bool gradient, nb_check_place *at)
{
    nb_var y;
    nbi_graph *g = c->self;
    if (!nbi_graph_record(c, 0, x, &y))
        return;
    nb_tape *t = g->tape[0];
    const nbi_spot spot = c->work.at;
    bool *on = nbi_take(&c->work, (size_t)y.index + 1, 1);
    if (on)
        nbi_graph_reach(t, y.index, on);
    for (uint32_t i = 0; on && i <= y.index && !at->found; i++)
        if (on[i] && !finite_value(t, i))
            *at = nbi_place_at(t, i, -1);
    for (uint32_t i = y.index + 1; on && gradient && i-- > 0 && !at->found;)
        if (on[i] && !nbi_still(t, i) && nbi_operands(t, i) && !finite_rule(c, t, i))
            *at = nbi_place_at(t, i, -1);
    nbi_give_back(&c->work, spot);
}
