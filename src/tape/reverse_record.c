/*
 * The backward sweep through one record.
 *
 * A record's op has a rule over arrays, a rule as graph code, or both. The first writes straight into
 * the operands' adjoint buffers. The second is run with recording off: the vars it makes are
 * appended to the tape as constants, their values are added to the operands' adjoints, and the tape
 * is truncated to where it was. So each reverse rule is written once as graph code, and the numeric
 * sweep is that rule evaluated but not kept.
 */
#include "tape/tape.h"

#include <math.h>

enum { FEW = 4 }; /* operands whose lists fit in the call's own frame */

/* Per operand: views, where its adjoint goes, and what a graph rule needs. */
typedef struct lists {
    nb_array in[FEW], gin[FEW], *to[FEW]; /* to[k]: gin[k], or NULL where no gradient is wanted */
    bool add[FEW], want[FEW];
    float rounded[FEW]; /* values of scalar operands on a float tape */
    double scalar[FEW]; /* adjoints of scalar operands */
    nb_var vars[FEW], d[FEW];
} lists;

/* One record under way, for either kind of rule. The lists are its frame's or, if long, scratch. */
typedef struct visit {
    nb_tape *t;
    const nbi_record *r;
    uint32_t i;
    const uint8_t *wanted;
    nb_array out, g;
    double value, adjoint;
    nb_array *in, *gin, **to;
    bool *add, *want;
    float *rounded;
    double *scalar;
    nb_var *vars, *d;
} visit;

static bool wants(const visit *v, size_t k)
{
    uint32_t i = v->r->in[k];
    return !nbi_still(v->t, i) && (!v->wanted || v->wanted[i]);
}

static bool open_lists(visit *v, lists *few)
{
    const size_t n = v->r->n_in;
    nb_tape *t = v->t;
    const bool fits = n <= FEW;
    v->in = fits ? few->in : nbi_scratch(t, n * sizeof *v->in);
    v->gin = fits ? few->gin : nbi_scratch(t, n * sizeof *v->gin);
    v->to = fits ? few->to : nbi_scratch(t, n * sizeof *v->to);
    v->add = fits ? few->add : nbi_scratch(t, n);
    v->want = fits ? few->want : nbi_scratch(t, n);
    v->rounded = fits ? few->rounded : nbi_scratch(t, n * sizeof *v->rounded);
    v->scalar = fits ? few->scalar : nbi_scratch(t, n * sizeof *v->scalar);
    v->vars = fits ? few->vars : nbi_scratch(t, n * sizeof *v->vars);
    v->d = fits ? few->d : nbi_scratch(t, n * sizeof *v->d);
    if (!v->in || !v->gin || !v->to || !v->add || !v->want || !v->rounded || !v->scalar ||
        !v->vars || !v->d) {
        nbi_no_memory(t, v->r->op->name);
        return false;
    }
    for (size_t k = 0; k < n; k++)
        v->want[k] = wants(v, k);
    return true;
}

/* Operand k is an earlier one again: the two share a buffer, so both must add to it. */
static void share(visit *v, size_t k)
{
    for (size_t j = 0; j < k; j++)
        if (v->to[j] && v->r->in[j] == v->r->in[k] && !v->add[j]) {
            memset(v->gin[j].data, 0, (size_t)v->gin[j].size * nbi_element(v->t->dtype));
            v->add[j] = true;
        }
}

/* Where the rule shall write the adjoint of operand k: a tensor's buffer, or for a scalar a number
 * that is added to its cell afterwards. */
static bool destination(visit *v, size_t k)
{
    nb_tape *t = v->t;
    const uint32_t i = v->r->in[k];
    nb_array *to = &v->gin[k];
    *to = nbi_array_of(t, i, &v->rounded[k]);
    v->to[k] = to;
    v->add[k] = false;
    if (to->rank < 0) {
        v->scalar[k] = 0;
        to->data = &v->scalar[k];
        to->dtype = NB_F64;
        return true;
    }
    to->data = nbi_adjoint(t, i, &v->add[k]);
    if (v->add[k])
        share(v, k);
    if (to->data && !v->add[k] && !v->r->op->overwrites)
        memset(to->data, 0, (size_t)to->size * nbi_element(t->dtype));
    return to->data != NULL;
}

static bool by_arrays(visit *v)
{
    nb_tape *t = v->t;
    for (size_t k = 0; k < v->r->n_in; k++)
        v->in[k] = nbi_array_of(t, v->r->in[k], &v->rounded[k]);
    for (size_t k = 0; k < v->r->n_in; k++) {
        v->to[k] = NULL;
        if (v->want[k] && !destination(v, k))
            return false;
    }
    nb_call c = {t, v->r->op, v->r->n_in, v->in, &v->out, v->r->state, NULL};
    nb_code code = v->r->op->reverse_arrays(&c, &v->g, v->to, v->add);
    if (code != NB_OK) {
        nb_refuse(&c, code, "the reverse rule failed", NULL);
        return false;
    }
    for (size_t k = 0; k < v->r->n_in; k++)
        if (v->to[k] && v->in[k].rank < 0)
            t->hot.cells[v->r->in[k]].adjoint += v->scalar[k];
    return true;
}

/* ---- the rule as graph code ------------------------------------------------------------------ */

/* The adjoint as a constant node. */
static nb_var adjoint_var(visit *v)
{
    if (v->r->rank < 0)
        return nb_constant(v->t, v->adjoint);
    nb_var g;
    nb_shape shape = nb_shape_make((size_t)v->r->rank, v->r->dims);
    nbi_leaf(v->t, shape, v->r->grad, true, &g);
    return g;
}

bool nbi_fits(nb_tape *t, nb_var d, uint32_t i)
{
    if (!d.tape)
        return true;
    if (d.tape != t || !nbi_alive(t, d))
        return false;
    const nb_shape from = nb_shape_of(d), to = nb_shape_of(nbi_var(t, i));
    nb_shape both = from;
    return to.rank < 0 || nb_shape_equal(from, to) ||
           (nbi_broadcast(&both, to.rank, to.dims) &&
            (nb_shape_equal(both, from) || nb_shape_equal(both, to)));
}

static bool add_results(visit *v)
{
    nb_tape *t = v->t;
    for (size_t k = 0; k < v->r->n_in; k++) {
        const nb_var d = v->d[k];
        if (!v->want[k] || (nbi_is_inert(d) && !d.tape))
            continue;
        if (nbi_is_inert(d))
            return false;
        float rounded;
        double number = d.tape ? 0 : nbi_number(d);
        nb_array a = {&number, NULL, 1, -1, NB_F64};
        if (!nbi_fits(t, d, v->r->in[k])) {
            nbi_fail(t, NB_ERR_CALLBACK,
                     "%s: the reverse rule's answer for operand %c is of another tape, stale or of "
                     "the wrong shape",
                     v->r->op->name, (int)('a' + k % 26));
            return false;
        }
        if (d.tape && nbi_is_tensor(t, d.index))
            a = nbi_array_of(t, d.index, &rounded);
        else if (d.tape)
            number = t->hot.cells[d.index].value;
        if (!nbi_accumulate(t, v->r->in[k], &a))
            return false;
    }
    return true;
}

static bool by_graph(visit *v)
{
    nb_tape *t = v->t;
    nb_mark before = nb_tape_mark(t);
    bool recording = nb_set_recording(t, false), anomaly = t->anomaly;
    t->anomaly =
        false; /* the nodes of the rule are not the user's; the result is looked at below */
    for (size_t k = 0; k < v->r->n_in; k++) {
        v->vars[k] = nbi_var(t, v->r->in[k]);
        v->d[k] = NB_NONE;
    }
    nb_rule rule = {.tape = t,
                    .op = v->r->op,
                    .n_in = v->r->n_in,
                    .in = v->vars,
                    .out = nbi_var(t, v->i),
                    .g = adjoint_var(v),
                    .want = v->want,
                    .d = v->d,
                    .state = v->r->state};
    nb_code code = v->r->op->reverse(&rule);
    bool done = code == NB_OK && add_results(v);
    if (!done)
        nbi_fail(t, code ? code : NB_ERR_CALLBACK, "%s: the reverse rule failed", v->r->op->name);
    t->anomaly = anomaly;
    nb_set_recording(t, recording);
    nbi_truncate(t, &before);
    return done;
}

static bool finite_result(const visit *v)
{
    for (size_t k = 0; k < v->r->n_in; k++) {
        const uint32_t i = v->r->in[k];
        if (!wants(v, k) || !nbi_is_tensor(v->t, i))
            continue;
        const nbi_record *x = nbi_record_at(v->t, i);
        for (int64_t j = 0; x->grad && j < x->size; j++)
            if (!isfinite(v->t->dtype == NB_F64 ? ((double *)x->grad)[j]
                                                : (double)((float *)x->grad)[j]))
                return false;
    }
    return true;
}

/* Whether any operand wants an adjoint: a wanted node itself need not pass its own on. */
static bool passes_on(const visit *v)
{
    bool any = !v->wanted;
    for (size_t k = 0; k < v->r->n_in && !any; k++)
        any = wants(v, k);
    return any;
}

bool nbi_reverse_record(nb_tape *t, uint32_t i, const uint8_t *wanted)
{
    nbi_record *r = nbi_record_at(t, i);
    if (r->leaf || r->still)
        return true;
    if (r->inside)
        return r->inside->reverse(t, i, wanted);
    visit v; /* assigned, not zeroed whole: this is on the path of every tiny op */
    v.t = t;
    v.r = r;
    v.i = i;
    v.wanted = wanted;
    if (!passes_on(&v)) {
        nbi_adjoint_release(t, r);
        return true;
    }
    const nb_op *op = r->op;
    if (!op->reverse && !op->reverse_arrays) {
        nbi_fail(t, NB_ERR_GRADIENT, "%s: node %u has no derivative rule", op->name, i);
        return false;
    }
    const bool scalar = r->rank < 0;
    if (scalar) {
        v.value = t->hot.cells[i].value;
        v.adjoint = t->hot.cells[i].adjoint;
    }
    const nb_dtype dtype = scalar ? NB_F64 : t->dtype;
    v.out = (nb_array){scalar ? &v.value : r->data, r->dims, r->size, r->rank, dtype};
    v.g = (nb_array){scalar ? &v.adjoint : r->grad, r->dims, r->size, r->rank, dtype};
    nbi_spot scratch = t->scratch.at;
    t->busy++;
    lists few;
    bool done = open_lists(&v, &few) && (op->reverse_arrays ? by_arrays(&v) : by_graph(&v));
    t->busy--;
    if (done && t->anomaly && !finite_result(&v)) {
        nbi_anomaly(t, i, "a gradient that it passes on is not finite");
        done = false;
    }
    nbi_give_back(&t->scratch, scratch);
    nbi_adjoint_release(t, r);
    return done;
}
