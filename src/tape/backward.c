/*
 * Asking for gradients: what the caller wants, turned into one sweep.
 *
 * Before the sweep the adjoints of the last one are cleared (all, or when accumulating all but the
 * inputs'), the outputs are seeded, and if only some gradients are wanted the nodes that depend on
 * them are marked in one pass up the tape. After it, whether a path led from an output to a node can
 * be asked: that is answered by another pass down, made only when somebody asks.
 */
#include "tape/tape.h"

#include <math.h>

static bool check_outputs(nb_tape *t, const nb_sweep *s)
{
    for (size_t k = 0; k < s->n_out; k++) {
        const nb_var v = s->out[k];
        bool seeded = s->seed && s->seed[k];
        if (v.tape && !seeded && nbi_is_tensor(t, v.index) &&
            nbi_record_at(t, v.index)->size != 1) {
            char shape[NBI_SHAPE_TEXT];
            nb_shape d = nb_shape_of(v);
            nbi_fail(t, NB_ERR_SEED, "backward: node %u has shape %s: a seed is needed", v.index,
                     nbi_shape_text(shape, d.rank, d.dims));
            return false;
        }
        if (!v.tape) {
            nbi_fail(t, NB_ERR_HANDLE, "backward: output %zu is a number, not a node", k);
            return false;
        }
    }
    return true;
}

/* Marks every node on a way up from the wanted ones, up to `to`. */
static bool mark_wanted(nb_tape *t, const nb_sweep *s, uint32_t to)
{
    uint8_t *w = nbi_take(&t->marks, (size_t)to + 1, 1);
    if (!w) {
        nbi_no_memory(t, "backward");
        return false;
    }
    memset(w, 0, (size_t)to + 1);
    for (size_t k = 0; k < s->n_want; k++)
        if (nb_retain_grad(s->want[k]).index <= to)
            w[s->want[k].index] = 1;
    for (uint32_t i = 0; i <= to; i++) {
        const uint32_t *x;
        size_t n = w[i] ? 0 : nbi_ways(t, i, &x);
        for (size_t k = 0; k < n && !w[i]; k++)
            w[i] = w[x[k]];
    }
    t->wanted = w;
    return true;
}

static bool seed_tensor(nb_tape *t, uint32_t i, const double *seed)
{
    bool add;
    const nbi_record *r = nbi_record_at(t, i);
    void *to = nbi_adjoint(t, i, &add);
    for (int64_t j = 0; to && j < r->size; j++) {
        double d = seed ? seed[j] : 1;
        if (t->dtype == NB_F64)
            ((double *)to)[j] = d + (add ? ((double *)to)[j] : 0);
        else
            ((float *)to)[j] = (float)(d + (add ? (double)((float *)to)[j] : 0));
    }
    return to != NULL;
}

static bool seed_outputs(nb_tape *t, const nb_sweep *s)
{
    uint32_t *outputs = nbi_take(&t->marks, s->n_out * sizeof *outputs, _Alignof(uint32_t));
    if (!outputs) {
        nbi_no_memory(t, "backward");
        return false;
    }
    t->outputs = outputs;
    t->n_outputs = 0;
    for (size_t k = 0; k < s->n_out; k++) {
        uint32_t i = s->out[k].index;
        const double *seed = s->seed ? s->seed[k] : NULL;
        outputs[t->n_outputs++] = i;
        if (nbi_still(t, i) || (t->wanted && !t->wanted[i]))
            continue;
        if (!nbi_is_tensor(t, i))
            t->hot.cells[i].adjoint += seed ? *seed : 1;
        else if (!seed_tensor(t, i, seed))
            return false;
    }
    return true;
}

/* Every borrowed gradient is written by every sweep: zeros where nothing arrived. */
static void zero_untouched(nb_tape *t)
{
    for (uint32_t i = t->attention; i != NBI_INERT;) {
        nbi_record *r = nbi_record_at(t, i);
        if (r->fresh)
            memset(r->grad, 0, (size_t)r->size * nbi_element(t->dtype));
        i = r->older;
    }
}

/* Marks the nodes that a path from an output reaches. */
static bool mark_reached(nb_tape *t)
{
    uint8_t *m = nbi_take(&t->marks, t->swept_to, 1);
    if (!m) {
        nbi_no_memory(t, "has_grad");
        return false;
    }
    memset(m, 0, t->swept_to);
    for (size_t k = 0; k < t->n_outputs; k++)
        if (t->outputs[k] < t->swept_to)
            m[t->outputs[k]] = 1;
    for (uint32_t i = t->swept_to; i-- > 0;) {
        size_t n = !m[i] || nbi_still(t, i) ? 0 : nbi_operands(t, i);
        for (size_t k = 0; k < n; k++)
            m[nbi_operand(t, i, k)] = 1;
    }
    t->reached = m;
    return true;
}

/* ---- anomaly mode ---------------------------------------------------------------------------- */

/* Names the first local derivative on the way that is not finite, even where the adjoint is 0. */
bool nbi_partials_finite(nb_tape *t, uint32_t from, uint32_t to, const uint8_t *reached,
                         const uint8_t *wanted)
{
    for (uint32_t i = from + 1; i-- > to;) {
        if (nbi_row_of(t, i) < 0 || nbi_still(t, i) || !reached[i - to] || (wanted && !wanted[i]))
            continue;
        size_t n = nbi_operands(t, i);
        for (size_t k = 0; k < n; k++)
            if (!nbi_still(t, nbi_operand(t, i, k)) && !isfinite(nb_partial(nbi_var(t, i), k))) {
                nbi_anomaly(t, i,
                            k ? "a local derivative is not finite"
                              : "the local derivative is not finite");
                return false;
            }
    }
    return true;
}

bool nbi_adjoints_finite(nb_tape *t, uint32_t from, uint32_t to)
{
    for (uint32_t i = from + 1; i-- > to;)
        if (!nbi_is_tensor(t, i) && !isfinite(t->hot.cells[i].adjoint)) {
            nbi_anomaly(t, i, "the gradient is not finite");
            return false;
        }
    return true;
}

/* ---- the calls ------------------------------------------------------------------------------- */

nb_code nb_backward(nb_var f)
{
    nb_sweep s = {.n_out = 1, .out = &f};
    return nb_backward_with(&s);
}

static nb_code run(nb_tape *t, const nb_sweep *s)
{
    uint32_t from = 0;
    for (size_t k = 0; k < s->n_out; k++)
        from = s->out[k].index > from ? s->out[k].index : from;
    nbi_adjoints_clear(t, !s->accumulate);
    nbi_give_back_all(&t->marks);
    t->accumulating = s->accumulate;
    t->reached = t->wanted = NULL;
    t->dirty = t->dirty > from + 1 ? t->dirty : from + 1;
    t->swept_to = from + 1;
    if ((s->n_want && !mark_wanted(t, s, from)) || !seed_outputs(t, s))
        return t->code;
    bool done =
        !t->anomaly || (mark_reached(t) && nbi_partials_finite(t, from, 0, t->reached, t->wanted));
    done = nbi_sweep(t, from, 0, t->wanted) && done;
    zero_untouched(t);
    if (t->anomaly && done)
        done = nbi_adjoints_finite(t, from, 0);
    return done ? NB_OK : t->code;
}

nb_code nb_backward_with(const nb_sweep *s)
{
    nb_var inert;
    if (!s || !s->n_out || !s->out || (s->n_want && !s->want))
        return NB_ERR_ARGUMENT;
    nb_tape *t = nbi_home("backward", s->n_out, s->out, &inert);
    if (!t)
        return inert.tape ? inert.tape->code : NB_ERR_HANDLE;
    for (size_t k = 0; k < s->n_want; k++)
        if (s->want[k].tape != t)
            return nbi_fail(t, NB_ERR_HANDLE,
                            "backward: wanted var %zu is a number or of another tape", k);
    if ((s->n_want && !nbi_home("backward", s->n_want, s->want, &inert)) ||
        nbi_busy(t, "backward") || !check_outputs(t, s))
        return t->code;
    return run(t, s);
}

/* ---- reading --------------------------------------------------------------------------------- */

bool nb_has_grad(nb_var x)
{
    nb_tape *t = x.tape;
    if (!t || !nbi_check("has_grad", x) || x.index >= t->swept_to || nbi_still(t, x.index))
        return false;
    bool whole = true;
    for (size_t k = 0; k < t->n_outputs; k++)
        whole = whole && t->outputs[k] < t->swept_to;
    if (t->hot.cells[x.index].adjoint != 0)
        return true;
    if (!whole || (!t->reached && !mark_reached(t)))
        return false;
    return t->reached[x.index] && (!t->wanted || t->wanted[x.index]);
}

double nb_grad(nb_var x)
{
    nb_tape *t = x.tape;
    if (!t)
        return nbi_is_inert(x) ? (double)NAN : 0;
    if (!nbi_check("grad", x))
        return (double)NAN;
    if (!nbi_is_tensor(t, x.index))
        return x.index < t->dirty ? t->hot.cells[x.index].adjoint : 0;
    const nbi_record *r = nbi_record_at(t, x.index);
    if (r->size != 1) {
        nbi_fail(t, NB_ERR_SHAPE, "grad: node %u has %lld elements; read them with nb_read_grad",
                 x.index, (long long)r->size);
        return (double)NAN;
    }
    double g;
    return nb_read_grad(x, &g, 1) == NB_OK ? g : (double)NAN;
}

const void *nb_grad_data(nb_var x)
{
    if (!nbi_check("grad_data", x) || !nbi_is_tensor(x.tape, x.index))
        return NULL;
    const nbi_record *r = nbi_record_at(x.tape, x.index);
    return r->fresh ? NULL : r->grad;
}

nb_var nb_retain_grad(nb_var x)
{
    if (nbi_check("retain_grad", x) && nbi_is_tensor(x.tape, x.index))
        nbi_record_at(x.tape, x.index)->retain = true;
    return x;
}
