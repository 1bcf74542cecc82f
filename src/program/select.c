/*
 * Selecting instructions.
 *
 * Nodes are visited in order. One that is needed becomes an instruction, unless it is a term inside its
 * only user. A sum is taken apart along its spine: from x + y the walk goes on into an operand that is a
 * sum or difference with no other user, and the other operand is a term; so the terms are added in the
 * order in which the tape would add them. A term that is a product, or the chain rule's product, with no
 * other user goes into the sum as such.
 *
 * Elements of inputs are loaded in groups of eight, before the first of them is needed; outputs are
 * stored in such groups, after the last of them is known; a result summed over the lanes is accumulated
 * as soon as it is.
 */
#include "program/code.h"

#include "ops/elementwise.h"

enum { GROUP = 8 };

typedef struct selection {
    nbi_plan *s;
    const nbi_dag_node *node;
    bool failed;
    uint32_t *after; /* by node: the first thing to do once it is known, + 1; 0: nothing */
    uint32_t *next;  /* by thing: the next one, + 1 */
    size_t things;
    uint32_t *pair; /* by node: of a sine and a cosine of one operand the other, or 0 */
} selection;

/* nbi_plan.inside: a term of its only user, or of an accumulator */
enum { INSIDE = 1, ACCUMULATED = 2 };

static bool varies(const selection *w, uint32_t i) { return w->s->varies[i]; }

static nbi_instruction *emit(selection *w, bool once, uint16_t code, uint32_t to)
{
    nbi_instruction *i = nbi_list_add(w->s->heap, once ? &w->s->code->once : &w->s->code->each);
    if (!i) {
        w->failed = true;
        return NULL;
    }
    i->code = code;
    i->to = to;
    i->list = NBI_NOWHERE;
    return i;
}

/* ---- sums ------------------------------------------------------------------------------------ */

static bool is_sum(uint32_t code) { return code == NBI_ROW_add || code == NBI_ROW_sub; }
static bool is_product(uint32_t code) { return code == NBI_ROW_mul || code == NBI_ROW_chain; }

/* Whether node x may become a part of its user: nobody else needs it, and both are in the same list. */
static bool absorbs(const selection *w, uint32_t user, uint32_t x)
{
    return w->s->uses[x] == 1 && varies(w, x) == varies(w, user);
}

static bool add_run(selection *w, nbi_instruction *to, uint32_t kind)
{
    nbi_code *c = w->s->code;
    nbi_run *last = to->count ? (nbi_run *)c->runs.at + c->runs.count - 1 : NULL;
    if (last && last->kind == kind) {
        last->count++;
        return true;
    }
    if (!to->count)
        to->first = (uint32_t)c->runs.count;
    nbi_run *run = nbi_list_add(w->s->heap, &c->runs);
    if (!run)
        return false;
    *run = (nbi_run){kind, (uint32_t)c->terms.count, 1};
    to->count++;
    return true;
}

/* U operands are uniform among lanes; in the list that runs once all operands are like lanes. */
static uint32_t kind_of(const selection *w, uint32_t user, uint32_t code, uint32_t a, uint32_t b)
{
    const bool once = !varies(w, user), va = once || varies(w, a), vb = once || varies(w, b);
    if (code == NBI_ROW_mul)
        return va && vb ? NBI_TERM_VV : NBI_TERM_VU;
    if (code == NBI_ROW_chain)
        return va && vb ? NBI_TERM_CHAIN_VV : va ? NBI_TERM_CHAIN_VU : NBI_TERM_CHAIN_UV;
    return va ? NBI_TERM_V : NBI_TERM_U;
}

static void add_term(selection *w, nbi_instruction *to, uint32_t user, uint32_t x, bool minus)
{
    uint32_t code = NBI_ROW_neg, a = x, b = x;
    const nbi_dag_node *n = &w->node[x];
    if (n->code == NBI_ROW_neg && absorbs(w, user, x)) {
        x = a = b = n->in[0];
        n = &w->node[x];
        minus = !minus;
    }
    if (is_product(n->code) && absorbs(w, user, x)) {
        code = n->code;
        a = n->in[0], b = n->in[1];
        if (code == NBI_ROW_mul && varies(w, user) && !varies(w, a))
            a = n->in[1], b = n->in[0]; /* the V of a VU comes first */
    }
    const uint32_t kind = kind_of(w, user, code, a, b) + (minus ? NBI_TERM_MINUS : 0);
    nbi_term_pair *t = add_run(w, to, kind) ? nbi_list_add(w->s->heap, &w->s->code->terms) : NULL;
    if (t)
        *t = (nbi_term_pair){a, b};
    else
        w->failed = true;
}

/* One step down the spine of a sum: where it goes on, and the term that is left. */
typedef struct step {
    uint32_t spine, term;
    bool minus, ends; /* the spine ends: `spine` is a term too */
} step;

static step split(const selection *w, uint32_t user, uint32_t x)
{
    const nbi_dag_node *n = &w->node[x];
    const uint32_t a = n->in[0], b = n->in[1];
    const bool sum_a = a != b && is_sum(w->node[a].code) && absorbs(w, user, a);
    const bool sum_b = a != b && is_sum(w->node[b].code) && absorbs(w, user, b);
    if (!sum_a && sum_b && n->code == NBI_ROW_add)
        return (step){b, a, false, false};
    return (step){a, b, n->code == NBI_ROW_sub, !sum_a};
}

/* Marks what add_term will find inside x. */
static void mark_term(selection *w, uint32_t user, uint32_t x)
{
    if (w->node[x].code == NBI_ROW_neg && absorbs(w, user, x)) {
        w->s->inside[x] = INSIDE;
        x = w->node[x].in[0];
    }
    if (is_product(w->node[x].code) && absorbs(w, user, x))
        w->s->inside[x] = INSIDE;
}

static void mark_spine(selection *w, uint32_t user)
{
    for (uint32_t x = user;;) {
        const step s = split(w, user, x);
        mark_term(w, user, s.term);
        if (s.ends) {
            mark_term(w, user, s.spine);
            return;
        }
        w->s->inside[s.spine] = INSIDE;
        x = s.spine;
    }
}

/* The terms of sum `user`, in the order of their addition: from the end of the spine back to its head. */
static void add_spine(selection *w, nbi_instruction *to, uint32_t user)
{
    nbi_list spine = {.size = sizeof(step)};
    step *s;
    uint32_t x = user;
    do {
        s = nbi_list_add(w->s->heap, &spine);
        if (s)
            *s = split(w, user, x);
        x = s ? s->spine : x;
    } while (s && !s->ends);
    w->failed = w->failed || !s;
    const step *at = spine.at;
    for (size_t k = spine.count; k-- > 0 && !w->failed;) {
        if (at[k].ends)
            add_term(w, to, user, at[k].spine, false);
        add_term(w, to, user, at[k].term, at[k].minus);
    }
    nbi_list_free(w->s->heap, &spine);
}

/* ---- instructions ---------------------------------------------------------------------------- */

static const uint16_t binary[NBI_ROWS] = {
#define CODE(name) [NBI_ROW_##name] = NBI_DO_##name##_vv + 1,
    NBI_BINARY_INSTRUCTIONS(CODE)
#undef CODE
};

static void emit_row(selection *w, uint32_t i)
{
    const nbi_dag_node *n = &w->node[i];
    const bool once = !varies(w, i);
    const int arity = nbi_dag_arity(n->code);
    uint16_t code = NBI_DO_row;
    bool lane[3];
    for (int k = 0; k < arity; k++)
        lane[k] = once || varies(w, n->in[k]);
    if (binary[n->code])
        code = (uint16_t)(binary[n->code] - 1 + (lane[0] && lane[1] ? 0 : lane[0] ? 1 : 2));
    else if (n->code == NBI_ROW_recip)
        code = NBI_DO_recip;
    else if (n->code == NBI_ROW_neg)
        code = NBI_DO_neg;
    else if (n->code == NBI_ROW_abs)
        code = NBI_DO_abs;
    else if (n->code == NBI_ROW_where)
        code = NBI_DO_where;
    else if (n->code == NBI_ROW_fma)
        code = NBI_DO_fma;
    nbi_instruction *to = emit(w, once, code, i);
    if (!to)
        return;
    to->of = n->code;
    to->arity = (uint8_t)arity;
    for (int k = 0; k < arity; k++) {
        to->in[k] = n->in[k];
        to->step[k] = lane[k];
    }
}

/* Whether a sum is worth more than an addition of two values. */
static bool wants_sum(const selection *w, uint32_t i)
{
    const nbi_dag_node *n = &w->node[i];
    if (n->code == NBI_ROW_neg)
        return is_product(w->node[n->in[0]].code) && absorbs(w, i, n->in[0]);
    if (!is_sum(n->code))
        return false;
    for (int k = 0; k < 2; k++) {
        const uint32_t c = w->node[n->in[k]].code;
        if (n->in[0] != n->in[1] && absorbs(w, i, n->in[k]) &&
            (is_sum(c) || is_product(c) || c == NBI_ROW_neg))
            return true;
    }
    return false;
}

static void emit_sum(selection *w, uint32_t i)
{
    nbi_instruction *to = emit(w, !varies(w, i), NBI_DO_sum, i);
    if (to && w->node[i].code == NBI_ROW_neg)
        add_term(w, to, i, w->node[i].in[0], true);
    else if (to)
        add_spine(w, to, i);
}

/* ---- what follows a node --------------------------------------------------------------------- */

/* Things to do once a node is known, by number: to accumulate an output element, to look at a guard, to
 * store a group of elements of an output. */

static void do_after(selection *w, uint32_t node, size_t thing)
{
    w->next[thing] = w->after[node];
    w->after[node] = (uint32_t)thing + 1;
}

static void plan_outputs(selection *w)
{
    const nb_program *p = w->s->p;
    size_t group = p->out_elements + p->n_guards;
    for (size_t k = 0; k < p->n_out; k++) {
        const nbi_argument *a = &p->out[k];
        const bool summed = w->s->code->summed[k];
        for (size_t e = 0; e < a->count; e++) {
            const uint32_t i = w->s->result[a->first + e];
            const uint32_t code = w->node[i].code;
            if (!summed || !varies(w, i))
                continue;
            w->s->code->sum[a->first + e] = (uint32_t)w->s->code->accumulators++;
            if (w->s->uses[i] == 1 && (is_sum(code) || is_product(code) || code == NBI_ROW_neg))
                w->s->inside[i] = ACCUMULATED;
            do_after(w, i, a->first + e);
        }
        for (size_t e = 0; e < a->count && !summed; e += GROUP, group++) {
            uint32_t last = 0;
            for (size_t j = e; j < a->count && j < e + GROUP; j++)
                last = w->s->result[a->first + j] > last ? w->s->result[a->first + j] : last;
            do_after(w, last, group);
        }
    }
    for (size_t k = 0; k < p->n_guards; k++)
        do_after(w, w->s->guard[k], p->out_elements + k);
}

static void emit_accumulate(selection *w, size_t element)
{
    const uint32_t i = w->s->result[element];
    nbi_instruction *to = emit(w, false, NBI_DO_accumulate, i);
    if (!to)
        return;
    to->of = w->s->code->sum[element];
    if (w->s->inside[i] && is_sum(w->node[i].code))
        add_spine(w, to, i);
    else
        add_term(w, to, i, i, false);
}

static void emit_guard(selection *w, size_t k)
{
    nbi_instruction *to = emit(w, false, NBI_DO_guard, 0);
    if (!to)
        return;
    to->arity = 1;
    to->in[0] = w->s->guard[k];
    to->step[0] = varies(w, to->in[0]);
}

static void emit_store(selection *w, size_t group)
{
    const nb_program *p = w->s->p;
    nbi_list *offsets = &w->s->code->offsets;
    size_t k = 0;
    for (;; k++) {
        const size_t groups = (p->out[k].count + GROUP - 1) / GROUP;
        if (w->s->code->summed[k])
            continue;
        if (group < groups)
            break;
        group -= groups;
    }
    nbi_instruction *to = emit(w, false, NBI_DO_store, 0);
    if (!to)
        return;
    const nbi_argument *a = &p->out[k];
    to->of = (uint32_t)k;
    to->first = (uint32_t)(group * GROUP);
    to->list = (uint32_t)offsets->count;
    for (size_t e = to->first; e < a->count && to->count < GROUP; e++, to->count++) {
        uint32_t *at = nbi_list_add(w->s->heap, offsets);
        if (!at) {
            w->failed = true;
            return;
        }
        *at = w->s->result[a->first + e];
    }
}

static void follow_up(selection *w, uint32_t i)
{
    const nb_program *p = w->s->p;
    for (uint32_t t = w->after[i]; t && !w->failed; t = w->next[t - 1]) {
        const size_t thing = t - 1;
        if (thing < p->out_elements)
            emit_accumulate(w, thing);
        else if (thing < p->out_elements + p->n_guards)
            emit_guard(w, thing - p->out_elements);
        else
            emit_store(w, thing - p->out_elements - p->n_guards);
    }
}

/* ---- the walk -------------------------------------------------------------------------------- */

static void count_uses(nbi_plan *s)
{
    const nb_program *p = s->p;
    for (size_t k = 0; k < p->out_elements; k++)
        s->uses[s->result[k]]++;
    for (size_t k = 0; k < p->n_guards; k++)
        s->uses[s->guard[k]]++;
    for (size_t i = s->d->count; i-- > 0;)
        for (int k = 0; s->uses[i] && k < nbi_dag_arity(s->d->node[i].code); k++)
            s->uses[s->d->node[i].in[k]]++;
}

/* Which nodes become terms is known when their users have been looked at, which come later: from the last
 * to the first. */
static void mark_terms(selection *w)
{
    const nbi_plan *s = w->s;
    for (uint32_t i = (uint32_t)s->d->count; i-- > 0;) {
        const uint32_t code = w->node[i].code;
        if (!s->uses[i] || s->inside[i] == INSIDE)
            continue;
        if (is_sum(code) && (s->inside[i] || wants_sum(w, i)))
            mark_spine(w, i);
        else if (s->inside[i])
            mark_term(w, i, i);
        else if (wants_sum(w, i))
            mark_term(w, i, w->node[i].in[0]);
        if (s->inside[i])
            s->inside[i] = ACCUMULATED;
    }
}

/* A sine and a cosine of one operand, both needed in every lane, are one instruction, where the first of
 * them stands. (Node 0 is no row, so 0 can stand for none.) */
static void pair_waves(selection *w)
{
    const nbi_plan *s = w->s;
    uint32_t *first = w->after; /* by operand: the node seen first */
    for (uint32_t i = 0; i < s->d->count; i++) {
        const nbi_dag_node *n = &w->node[i];
        if ((n->code != NBI_ROW_sin && n->code != NBI_ROW_cos) || !s->uses[i] || !s->varies[i])
            continue;
        const uint32_t other = first[n->in[0]];
        first[n->in[0]] = i;
        if (other)
            w->pair[i] = other, w->pair[other] = i;
    }
    if (s->d->count)
        memset(first, 0, s->d->count * sizeof *first);
}

static void emit_waves(selection *w, uint32_t i)
{
    const bool sine = w->node[i].code == NBI_ROW_sin;
    if (w->pair[i] < i)
        return;
    nbi_instruction *to = emit(w, false, NBI_DO_sincos, sine ? i : w->pair[i]);
    if (!to)
        return;
    to->of = sine ? w->pair[i] : i;
    to->arity = 1;
    to->in[0] = w->node[i].in[0];
    to->step[0] = 1;
}

static void walk(selection *w)
{
    const nbi_plan *s = w->s;
    for (uint32_t i = 0; i < s->d->count && !w->failed; i++) {
        const uint32_t code = w->node[i].code;
        if (!s->uses[i])
            continue;
        if (code < NBI_ROWS && !s->inside[i]) {
            if (w->pair[i])
                emit_waves(w, i);
            else if (wants_sum(w, i))
                emit_sum(w, i);
            else
                emit_row(w, i);
        }
        follow_up(w, i);
    }
}

/* The things to do, in the same memory as their links. */
static bool open_things(selection *w)
{
    const nb_program *p = w->s->p;
    w->things = p->out_elements + p->n_guards;
    for (size_t k = 0; k < p->n_out; k++)
        w->things += (p->out[k].count + GROUP - 1) / GROUP;
    const size_t bytes = (2 * w->s->d->count + w->things) * sizeof *w->after;
    w->after = nbi_resize(w->s->heap, NULL, 0, bytes);
    if (!w->after)
        return bytes == 0;
    memset(w->after, 0, bytes);
    w->pair = w->after + w->s->d->count;
    w->next = w->pair + w->s->d->count;
    return true;
}

bool nbi_select(nbi_plan *s)
{
    selection w = {.s = s, .node = s->d->node};
    if (!open_things(&w))
        return false;
    count_uses(s);
    nbi_mark_dependent(s->p, s->d, s->code->shared, 0, true, s->varies);
    pair_waves(&w);
    plan_outputs(&w);
    mark_terms(&w);
    walk(&w);
    nbi_resize(s->heap, w.after, (2 * s->d->count + w.things) * sizeof *w.after, 0);
    return !w.failed;
}
