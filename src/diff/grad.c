/*
 * The gradient as a graph: symbol-to-symbol differentiation.
 *
 * This is the backward sweep once more, with vars in the place of numbers. The adjoint of each node
 * is a node; passing it on to operand k records the product of the chain rule with the local
 * derivative, which the table and the records' reverse rules give as graph code. As all that is
 * recorded are ordinary operations, the result can be differentiated again, to any order.
 *
 * Nothing below the lowest var asked for can depend on it, so the sweep goes no further down: its
 * work and memory are those of the piece of tape between, however long the tape is.
 *
 * An adjoint may stay smaller than its node while contributions are added (a number stands for a
 * tensor of equal elements); it is stretched when a rule needs it whole.
 */
#include <nabla/diff.h>
#include <nabla/ops.h>

#include "diff/many.h"
#include "diff/region.h"
#include "ops/elementwise.h"

#include <math.h>

/* A sweep under way. */
typedef struct sweep {
    nb_tape *t;
    uint32_t from;   /* nodes above take no part, but for the interiors of regions */
    uint32_t low;    /* nor do nodes below */
    size_t room;     /* of the lists, by place - low: to from, and more where there are regions */
    nb_var *adjoint; /* NB_NONE where nothing has arrived */
    bool *wanted;    /* on a way to a var that is asked for */
} sweep;

static bool is_wanted(const sweep *s, uint32_t i) { return i >= s->low && s->wanted[i - s->low]; }

/* d summed over the axes along which shape `to` stretches to d's, which are dropped or of size 1. */
static nb_var fold(nb_var d, nb_shape from, nb_shape to)
{
    nb_axes over = {0, {0}};
    nb_shape rest = {0, {0}};
    for (int k = 0; k < from.rank; k++) {
        int j = k - (from.rank - to.rank);
        bool folded = j < 0 || (to.dims[j] == 1 && from.dims[k] != 1);
        if (folded)
            over.axis[over.count++] = k;
        if (j >= 0)
            rest.dims[rest.rank++] = folded ? 1 : from.dims[k];
    }
    if (over.count)
        d = nb_sum_over(d, over, true);
    return from.rank > to.rank ? nb_reshape(d, rest) : d;
}

/* d in the shape of node i; a number stays one for a scalar node. */
static nb_var fit(nb_tape *t, nb_var d, uint32_t i)
{
    nb_shape to = nb_shape_of(nbi_var(t, i)), from = nb_shape_of(d);
    if (to.rank < 0)
        return from.rank < 0 ? d : nb_sum(d);
    if (from.rank < 0 && !d.tape)
        return nb_full(t, to, nbi_number(d));
    if (from.rank > 0)
        d = fold(d, from, to);
    return nb_shape_equal(nb_shape_of(d), to) ? d : nb_expand(d, to);
}

static void give(sweep *s, uint32_t k, nb_var d)
{
    nb_var *a = &s->adjoint[k - s->low];
    const bool scalars = d.tape && !(d.epoch & NBI_TENSOR) && !nbi_is_tensor(s->t, k);
    if (!d.tape && nbi_is_inert(d))
        return;
    if (!scalars && nb_size(d) > nb_size(nbi_var(s->t, k)))
        d = fit(s->t, d, k);
    *a = !a->tape && nbi_is_inert(*a) ? d : nb_add(*a, d);
}

static nb_code through_record(sweep *s, uint32_t i, nb_var g)
{
    nb_tape *t = s->t;
    const nbi_record *r = nbi_record_at(t, i);
    const size_t n = r->n_in;
    if (r->leaf)
        return NB_OK;
    if (!r->op->reverse)
        return nbi_fail(t, NB_ERR_GRADIENT, "%s: node %u has no derivative rule as graph code",
                        r->op->name, i);
    nbi_spot spot = t->scratch.at;
    nb_var *in = nbi_scratch(t, n * sizeof *in), *d = nbi_scratch(t, n * sizeof *d);
    bool *want = nbi_scratch(t, n);
    nb_code code = in && d && want ? NB_OK : nbi_no_memory(t, r->op->name);
    for (size_t k = 0; k < n && code == NB_OK; k++) {
        in[k] = nbi_var(t, r->in[k]);
        d[k] = NB_NONE;
        want[k] = is_wanted(s, r->in[k]) && !nbi_still(t, r->in[k]);
    }
    nb_rule rule = {.tape = t,
                    .op = r->op,
                    .n_in = n,
                    .in = in,
                    .out = nbi_var(t, i),
                    .g = fit(t, g, i),
                    .want = want,
                    .d = d,
                    .state = r->state};
    if (code == NB_OK && r->rank < 0 && !rule.g.tape)
        rule.g = nb_constant(t, nbi_number(rule.g));
    const bool recording = t->recording;
    t->busy++;
    if (code == NB_OK)
        code = r->op->reverse(&rule);
    t->busy--;
    nb_set_recording(t, recording);
    for (size_t k = 0; k < n && code == NB_OK; k++)
        if (want[k] && !nbi_fits(t, d[k], r->in[k]))
            code = t->code ? t->code : NB_ERR_CALLBACK;
    if (code != NB_OK)
        nbi_fail(t, code, "%s: the reverse rule of node %u failed", r->op->name, i);
    for (size_t k = 0; k < n && code == NB_OK; k++)
        if (want[k])
            give(s, r->in[k], d[k]);
    nbi_give_back(&t->scratch, spot);
    return code;
}

static nb_code through_row(sweep *s, uint32_t i, int row, nb_var g)
{
    nb_tape *t = s->t;
    nb_var x[3];
    for (int k = 0; k < nbi_rows[row].arity; k++)
        x[k] = nbi_var(t, nbi_operand(t, i, (size_t)k));
    for (int k = 0; k < nbi_rows[row].arity; k++)
        if (is_wanted(s, x[k].index) && !nbi_still(t, x[k].index))
            give(s, x[k].index, nbi_row_product((enum nbi_row)row, (size_t)k, x, nbi_var(t, i), g));
    return NB_OK;
}

/* ---- through a segment or loop ----------------------------------------------------------------- */

static bool reserve(sweep *s, size_t room)
{
    nb_var *adjoint = nbi_scratch(s->t, room * sizeof *adjoint);
    bool *wanted = nbi_scratch(s->t, room);
    if (!adjoint || !wanted) {
        nbi_no_memory(s->t, "diff");
        return false;
    }
    for (size_t i = 0; i < room; i++) {
        adjoint[i] = i < s->room ? s->adjoint[i] : NB_NONE;
        wanted[i] = i < s->room && s->wanted[i];
    }
    s->adjoint = adjoint;
    s->wanted = wanted;
    s->room = room;
    return true;
}

/* Marks the nodes [from, to) that depend on a marked one. */
static void spread(sweep *s, uint32_t from, uint32_t to)
{
    for (uint32_t i = from; i < to; i++) {
        const uint32_t *x;
        bool *w = &s->wanted[i - s->low];
        size_t n = *w ? 0 : nbi_ways(s->t, i, &x);
        for (size_t k = 0; k < n && !*w; k++)
            *w = is_wanted(s, x[k]);
    }
}

static nb_code through(sweep *s, uint32_t i);

/* The interior is recorded at the end of the tape, takes over the outputs' adjoints, and is swept
 * there. Nothing on a way to it from the outputs is above the base, so it is its turn. */
static nb_code through_region(sweep *s, nbi_region *g)
{
    nb_tape *t = s->t;
    const uint32_t low = t->hot.length;
    nb_var *out = nbi_scratch(t, g->n_out * sizeof *out);
    if (!out)
        return nbi_no_memory(t, g->title);
    if (!nbi_region_unroll(t, g, out))
        return t->code ? t->code : NB_ERR_CALLBACK;
    const uint32_t high = t->hot.length;
    if (high - s->low > s->room && !reserve(s, 2 * (size_t)(high - s->low)))
        return t->code;
    spread(s, low, high);
    for (size_t k = 0; k < g->n_out; k++)
        if (nbi_region_owns(g, k))
            give(s, out[k].index, s->adjoint[g->node[k] - s->low]);
    for (uint32_t i = high; i-- > low;) {
        nb_code code = through(s, i);
        if (code != NB_OK)
            return code;
    }
    return NB_OK;
}

static nb_code through(sweep *s, uint32_t i)
{
    nb_tape *t = s->t;
    nb_var g = s->adjoint[i - s->low];
    int row = nbi_row_of(t, i);
    if ((!g.tape && nbi_is_inert(g)) || !is_wanted(s, i) || nbi_still(t, i))
        return NB_OK;
    if (row >= 0)
        return through_row(s, i, row, g);
    const nbi_record *r = t->hot.ops[i] == NBI_RECORD ? nbi_record_at(t, i) : NULL;
    if (r && r->inside == &nbi_region_base)
        return through_region(s, r->state);
    if (r && !r->inside)
        return through_record(s, i, g);
    if (r && is_wanted(s, r->in[0]))
        s->adjoint[r->in[0] - s->low] = nb_num(1); /* its own waits for the base */
    if (r)
        return NB_OK;
    for (size_t k = 0; k < nbi_operands(t, i); k++) {
        uint32_t x = nbi_operand(t, i, k);
        if (is_wanted(s, x) && !nbi_still(t, x))
            give(s, x, nbi_many_product(t, i, k, g));
    }
    return NB_OK;
}

/* Marks what is asked for and every node that depends on it. */
static void mark_wanted(sweep *s, size_t n_in, const nb_var *in)
{
    for (size_t k = 0; k < n_in; k++)
        if (in[k].index <= s->from)
            s->wanted[in[k].index - s->low] = true;
    spread(s, s->low, s->from + 1);
}

static nb_code run(sweep *s, size_t n_out, const nb_var *out, const nb_var *seed, size_t n_in,
                   const nb_var *in, nb_var *grad)
{
    nb_tape *t = s->t;
    if (!reserve(s, (size_t)s->from - s->low + 1))
        return t->code ? t->code : NB_ERR_MEMORY;
    mark_wanted(s, n_in, in);
    for (size_t k = 0; k < n_out; k++)
        if (out[k].tape && out[k].index >= s->low && !nbi_still(t, out[k].index)) {
            bool given = seed && (seed[k].tape || !nbi_is_inert(seed[k]));
            give(s, out[k].index, given ? seed[k] : nb_num(1));
        }
    for (uint32_t i = s->from + 1; i-- > s->low;) {
        nb_code code = through(s, i);
        if (code != NB_OK)
            return code;
    }
    for (size_t k = 0; k < n_in; k++) {
        uint32_t i = in[k].index;
        nb_var d = i <= s->from ? s->adjoint[i - s->low] : nb_num(0);
        d = fit(t, !d.tape && nbi_is_inert(d) ? nb_num(0) : d, i);
        grad[k] = d.tape ? d : nb_constant(t, nbi_number(d));
        if (!nb_ok(grad[k]))
            return t->code ? t->code : NB_ERR_CALLBACK;
    }
    return NB_OK;
}

nb_code nb_diff(size_t n_out, const nb_var *out, const nb_var *seed, size_t n_in, const nb_var *in,
                nb_var *grad)
{
    nb_var inert;
    if (!n_out || !out || !n_in || !in || !grad) {
        for (size_t k = 0; k < n_in && grad; k++)
            grad[k] = NB_NONE;
        return NB_ERR_ARGUMENT;
    }
    nb_tape *t = nbi_home("diff", n_in, in, &inert), *of_out = t;
    if (t)
        of_out = nbi_home("diff", n_out, out, &inert);
    bool bad = !t || (of_out != t && (of_out || inert.tape));
    for (size_t k = 0; k < n_in; k++) {
        bad = bad || !in[k].tape;
        grad[k] = nbi_inert(t);
    }
    if (bad) {
        for (size_t k = 0; k < n_out && !t; k++)
            t = out[k].tape;
        t = t ? t : inert.tape;
        return nbi_fail(t, NB_ERR_HANDLE,
                        "diff: an input or output is a number, or of another tape");
    }
    sweep s = {.t = t, .low = in[0].index};
    for (size_t k = 1; k < n_in; k++)
        s.low = in[k].index < s.low ? in[k].index : s.low;
    s.from = s.low;
    for (size_t k = 0; k < n_out; k++)
        s.from = out[k].tape && out[k].index > s.from ? out[k].index : s.from;
    nb_mark before = nb_tape_mark(t);
    nbi_spot scratch = t->scratch.at;
    nb_code code = run(&s, n_out, out, seed, n_in, in, grad);
    nbi_give_back(&t->scratch, scratch);
    if (code != NB_OK) {
        nbi_truncate(t, &before);
        for (size_t k = 0; k < n_in; k++)
            grad[k] = nbi_inert(t);
    }
    return code;
}

nb_var nb_derivative(nb_var y, nb_var x)
{
    nb_var d = nbi_inert(x.tape);
    nb_diff(1, &y, NULL, 1, &x, &d);
    return d;
}
