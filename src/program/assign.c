/*
 * Giving values their places.
 *
 * The instructions are walked in order with a list of free slots. What an instruction computes may take
 * the slot of an operand that nobody needs after it: an instruction reads each place before it writes it.
 * An input is loaded, with its neighbours in a group of eight, when something first needs it. Uniforms
 * have slots of their own, which are not reused: they are computed once per row.
 *
 * Places are numbers at first. When all are known so is the length of a block, half the usual one if the
 * slots would not fit a second-level cache, and the numbers become offsets:
 *
 *     workspace    exported values and constants  |  slots of uniforms  |  slots of lanes
 */
#include "program/code.h"

enum { GROUP = 8, CACHE = 256 << 10 };

typedef struct assignment {
    nbi_plan *s;
    bool failed;
    uint32_t *slot;     /* by node: its slot, or NBI_NOWHERE */
    uint32_t *last;     /* by node: the instruction of `each` that needs it last */
    uint32_t *exported; /* by node: its number among the exported values */
    uint32_t *home;     /* by node: the home it has for a slot, or 0 */
    uint32_t *input;    /* by input element: its node */
    size_t words;       /* of these five together */
    nbi_list spare;     /* free slots */
    nbi_list once, each;
    uint32_t uniforms, exports;
    uint32_t now;                           /* the instruction of `each` that is looked at */
    uint32_t element, once_base, each_base; /* in bytes */
} assignment;

typedef void visit_fn(assignment *w, uint32_t *node);

/* Calls f with every operand that is a slot, and g with every uniform one. */
static void for_operands(assignment *w, nbi_instruction *i, visit_fn *f, visit_fn *g)
{
    nbi_code *c = w->s->code;
    const bool sums = i->code == NBI_DO_sum || i->code == NBI_DO_accumulate;
    for (int k = 0; k < i->arity; k++)
        (i->step[k] ? f : g)(w, &i->in[k]);
    for (uint32_t r = i->first; sums && r < i->first + i->count; r++) {
        const nbi_run *run = (nbi_run *)c->runs.at + r;
        const uint32_t kind = run->kind % NBI_TERM_MINUS;
        const bool ua = kind == NBI_TERM_U || kind == NBI_TERM_CHAIN_UV;
        const bool ub = kind == NBI_TERM_VU || kind == NBI_TERM_CHAIN_VU;
        for (uint32_t t = run->first; t < run->first + run->count; t++) {
            nbi_term_pair *pair = (nbi_term_pair *)c->terms.at + t;
            (ua ? g : f)(w, &pair->a);
            if (kind >= NBI_TERM_VV)
                (ub ? g : f)(w, &pair->b);
        }
    }
}

static void *add(assignment *w, nbi_list *l)
{
    void *item = w->failed ? NULL : nbi_list_add(w->s->heap, l);
    w->failed = w->failed || !item;
    return item;
}

/* ---- loading --------------------------------------------------------------------------------- */

/* Where a node's value is to be: at its home, or in a free slot. */
static uint32_t take_slot(assignment *w, uint32_t node)
{
    if (w->home[node])
        return w->home[node] << NBI_HOME;
    if (w->spare.count)
        return ((uint32_t *)w->spare.at)[--w->spare.count];
    return (uint32_t)w->s->code->slots++;
}

/* Loads the group that the input node belongs to: all of it that is needed and not yet there. */
static void load_group(assignment *w, uint32_t node)
{
    const nbi_plan *s = w->s;
    const nb_program *p = s->p;
    const size_t place = s->d->node[node].in[0], k = nbi_argument_of(p->in, p->n_in, place);
    const nbi_argument *a = &p->in[k];
    const size_t first = (place - a->first) / GROUP * GROUP;
    nbi_instruction load = {.code = NBI_DO_load, .of = (uint32_t)k, .first = (uint32_t)first};
    load.list = (uint32_t)s->code->offsets.count;
    for (size_t e = first; e < a->count && load.count < GROUP; e++, load.count++) {
        uint32_t *at = add(w, &s->code->offsets);
        const uint32_t i = w->input[a->first + e];
        if (!at)
            return;
        *at = NBI_NOWHERE;
        if (i != NBI_DAG_NONE && w->slot[i] == NBI_NOWHERE)
            *at = w->slot[i] = s->varies[i] ? take_slot(w, i) : w->uniforms++;
    }
    nbi_instruction *to = add(w, s->varies[node] ? &w->each : &w->once);
    if (to)
        *to = load;
}

static void fill(assignment *w, double value, uint32_t number, bool export)
{
    nbi_constant *c = add(w, &w->s->code->constants);
    if (c)
        *c = (nbi_constant){value, number, export ? 1 : NBI_UNIFORM}; /* the count comes later */
}

/* The slot of a node, which has been computed or is an input or a constant. */
static uint32_t slot_of(assignment *w, uint32_t node)
{
    if (w->slot[node] == NBI_NOWHERE && nbi_dag_is_constant(w->s->d, node)) {
        w->slot[node] = w->uniforms++;
        fill(w, nbi_dag_value(w->s->d, node), w->slot[node], false);
    } else if (w->slot[node] == NBI_NOWHERE) {
        load_group(w, node);
    }
    return w->slot[node];
}

static uint32_t export_of(assignment *w, uint32_t node)
{
    if (w->exported[node] != NBI_NOWHERE)
        return w->exported[node];
    w->exported[node] = w->exports++;
    if (nbi_dag_is_constant(w->s->d, node)) {
        fill(w, nbi_dag_value(w->s->d, node), w->exported[node], true);
    } else {
        const uint32_t from = slot_of(w, node);
        nbi_export *e = add(w, &w->s->code->exports);
        if (e)
            *e = (nbi_export){from, w->exported[node]};
    }
    return w->exported[node];
}

/* ---- the walks ------------------------------------------------------------------------------- */

static void note_last(assignment *w, uint32_t *node) { w->last[*node] = w->now; }
static void ignore(assignment *w, uint32_t *node) { (void)w, (void)node; }
static void make_there(assignment *w, uint32_t *node) { slot_of(w, *node); }
static void make_exported(assignment *w, uint32_t *node) { export_of(w, *node); }
static void to_export(assignment *w, uint32_t *node) { *node = w->exported[*node]; }

static void give_back(assignment *w, uint32_t node)
{
    if (w->last[node] != w->now || w->home[node])
        return;
    uint32_t *spare = add(w, &w->spare);
    if (spare)
        *spare = w->slot[node];
    w->last[node] = NBI_NOWHERE; /* once, even if it is an operand twice */
}

static void release(assignment *w, uint32_t *node) { give_back(w, *node); }
static void to_slot(assignment *w, uint32_t *node) { *node = w->slot[*node]; }

static uint32_t *offsets_of(assignment *w, const nbi_instruction *i)
{
    return (uint32_t *)w->s->code->offsets.at + i->list;
}

static void find_last(assignment *w)
{
    const nbi_list *each = &w->s->code->each;
    for (w->now = 0; w->now < each->count; w->now++) {
        nbi_instruction *i = (nbi_instruction *)each->at + w->now;
        for_operands(w, i, note_last, ignore);
        for (uint32_t k = 0; i->code == NBI_DO_store && k < i->count; k++)
            note_last(w, &offsets_of(w, i)[k]);
    }
}

/* The instruction that fills the home of output k: the one that computes the value, if the value lives there,
 * else its store. */
static uint32_t when_filled(const assignment *w, size_t k)
{
    const nbi_plan *s = w->s;
    const nbi_instruction *i = s->code->each.at;
    const uint32_t node = s->result[s->p->out[k].first];
    const bool lives = w->home[node] == s->code->home[s->p->n_in + k];
    uint32_t n = 0;
    for (; n < s->code->each.count; n++)
        if ((i[n].code == NBI_DO_store && i[n].of == k) ||
            (lives && i[n].code < NBI_DO_accumulate && i[n].to == node) ||
            (lives && i[n].code == NBI_DO_sincos && i[n].of == node))
            break;
    return n;
}

/* Which values live in arrays: of outputs those that are computed, and of inputs those that nothing needs after
 * an output has filled the same home. */
static void find_homes(assignment *w)
{
    const nbi_plan *s = w->s;
    const nb_program *p = s->p;
    const uint8_t *home = s->code->home, *out = home + p->n_in;
    for (size_t k = 0; k < p->n_out; k++) {
        const uint32_t node = out[k] ? s->result[p->out[k].first] : 0;
        if (out[k] && s->varies[node] && s->d->node[node].code < NBI_ROWS && !w->home[node])
            w->home[node] = out[k];
    }
    for (size_t j = 0; j < p->n_in; j++) {
        const uint32_t node = home[j] ? w->input[p->in[j].first] : NBI_DAG_NONE;
        bool stays = node != NBI_DAG_NONE;
        for (size_t k = 0; stays && k < p->n_out; k++)
            stays = out[k] != home[j] || w->last[node] <= when_filled(w, k);
        if (stays)
            w->home[node] = home[j];
    }
}

static void assign_once(assignment *w)
{
    const nbi_list *once = &w->s->code->once;
    for (size_t k = 0; k < once->count && !w->failed; k++) {
        nbi_instruction i = ((nbi_instruction *)once->at)[k];
        for_operands(w, &i, make_there, make_there);
        for_operands(w, &i, to_slot, to_slot);
        i.to = w->slot[i.to] = w->uniforms++;
        nbi_instruction *to = add(w, &w->once);
        if (to)
            *to = i;
    }
}

/* The list of a store: slots, which then may be free, and exported values. */
static void assign_store(assignment *w, nbi_instruction *i)
{
    for (uint32_t k = 0; k < i->count; k++) {
        const uint32_t node = offsets_of(w, i)[k];
        const uint32_t place =
            w->s->varies[node] ? slot_of(w, node) : export_of(w, node) | NBI_EXPORTED;
        offsets_of(w, i)[k] = place;
        if (w->s->varies[node])
            give_back(w, node);
    }
}

static void assign_each(assignment *w)
{
    const nbi_list *each = &w->s->code->each;
    for (uint32_t k = 0; w->s->code->early && k < w->s->p->in_elements && !w->failed; k++)
        if (w->input[k] != NBI_DAG_NONE && w->s->varies[w->input[k]] && !w->home[w->input[k]])
            slot_of(w, w->input[k]);
    for (w->now = 0; w->now < each->count && !w->failed; w->now++) {
        nbi_instruction i = ((nbi_instruction *)each->at)[w->now];
        for_operands(w, &i, make_there, make_exported);
        if (i.code == NBI_DO_store) {
            assign_store(w, &i);
        } else {
            nbi_instruction at = i; /* the nodes, before they become places */
            for_operands(w, &at, release, ignore);
            for_operands(w, &i, to_slot, to_export);
            if (i.code != NBI_DO_accumulate && i.code != NBI_DO_guard)
                i.to = w->slot[i.to] = take_slot(w, i.to);
            if (i.code == NBI_DO_sincos)
                i.of = w->slot[i.of] = take_slot(w, i.of);
        }
        nbi_instruction *to = add(w, &w->each);
        if (to)
            *to = i;
    }
}

/* ---- offsets --------------------------------------------------------------------------------- */

static size_t aligned(size_t bytes) { return (bytes + NBI_ALIGN - 1) & ~(size_t)(NBI_ALIGN - 1); }

static void offset_export(assignment *w, uint32_t *place) { *place *= w->element; }
static void offset_once(assignment *w, uint32_t *place)
{
    *place = w->once_base + *place * NBI_UNIFORM;
}
static void offset_each(assignment *w, uint32_t *place)
{
    if (*place >> NBI_HOME == 0)
        *place = w->each_base + *place * w->s->code->block;
}

static void offset_list(assignment *w, nbi_instruction *i, visit_fn *f)
{
    for (uint32_t k = 0; (i->code == NBI_DO_load || i->code == NBI_DO_store) && k < i->count; k++) {
        uint32_t *at = &offsets_of(w, i)[k];
        if (*at == NBI_NOWHERE)
            continue;
        const bool exported = i->code == NBI_DO_store && *at & NBI_EXPORTED;
        if (exported)
            *at = (*at & ~NBI_EXPORTED) * w->element | NBI_EXPORTED;
        else
            f(w, at);
    }
}

static void offset_instructions(assignment *w, nbi_list *list, visit_fn *f)
{
    for (size_t k = 0; k < list->count; k++) {
        nbi_instruction *i = (nbi_instruction *)list->at + k;
        for_operands(w, i, f, offset_export);
        offset_list(w, i, f);
        if (i->code < NBI_DO_accumulate)
            f(w, &i->to);
        if (i->code == NBI_DO_sincos)
            f(w, &i->of);
    }
}

static bool size_workspace(assignment *w)
{
    nbi_code *c = w->s->code;
    if (c->block == NBI_BLOCK && c->slots * NBI_BLOCK > CACHE)
        c->block = NBI_BLOCK / 2;
    w->element = c->dtype == NB_F64 ? sizeof(double) : sizeof(float);
    c->lanes = c->block / w->element;
    const size_t exported = aligned((size_t)w->exports * w->element);
    const size_t once = (size_t)w->uniforms * NBI_UNIFORM;
    const size_t slots = c->slots * c->block;
    c->workspace = exported + once + slots + (c->block == NBI_LONG ? NBI_HOMES * NBI_LONG : 0);
    c->stead = (uint32_t)(exported + once + slots);
    w->once_base = (uint32_t)exported;
    w->each_base = (uint32_t)(exported + once);
    return c->workspace < NBI_EXPORTED;
}

static void make_offsets(assignment *w)
{
    nbi_code *c = w->s->code;
    nbi_constant *constant = c->constants.at;
    nbi_export *export = c->exports.at;
    offset_instructions(w, &w->once, offset_once);
    offset_instructions(w, &w->each, offset_each);
    for (size_t k = 0; k < c->constants.count; k++) {
        (constant[k].count == 1 ? offset_export : offset_once)(w, &constant[k].to);
        if (constant[k].count > 1)
            constant[k].count = NBI_UNIFORM / w->element;
    }
    for (size_t k = 0; k < c->exports.count; k++) {
        offset_once(w, &export[k].from);
        offset_export(w, &export[k].to);
    }
    for (size_t k = 0; k < w->s->p->out_elements; k++)
        if (c->sum[k] != NBI_NOWHERE && c->sum[k] & NBI_EXPORTED)
            c->sum[k] = (c->sum[k] & ~NBI_EXPORTED) * w->element | NBI_EXPORTED;
}

/* ---- the whole ------------------------------------------------------------------------------- */

static bool open_assignment(assignment *w)
{
    const nbi_plan *s = w->s;
    const size_t n = s->d->count;
    w->spare.size = sizeof(uint32_t);
    w->once.size = w->each.size = sizeof(nbi_instruction);
    w->words = 4 * n + s->p->in_elements;
    w->slot = nbi_resize(s->heap, NULL, 0, w->words * sizeof *w->slot);
    if (!w->slot)
        return w->words == 0;
    memset(w->slot, 0xff, w->words * sizeof *w->slot);
    w->last = w->slot + n;
    w->exported = w->last + n;
    w->home = w->exported + n;
    w->input = w->home + n;
    if (n)
        memset(w->home, 0, n * sizeof *w->home);
    for (uint32_t i = 0; i < n; i++)
        if (s->d->node[i].code == NBI_DAG_INPUT && s->uses[i])
            w->input[s->d->node[i].in[0]] = i;
    return true;
}

/* Sums of what does not vary are exported. */
static void export_sums(assignment *w)
{
    const nb_program *p = w->s->p;
    for (size_t k = 0; k < p->n_out; k++)
        for (size_t e = p->out[k].first; e < p->out[k].first + p->out[k].count; e++)
            if (w->s->code->summed[k] && !w->s->varies[w->s->result[e]])
                w->s->code->sum[e] = export_of(w, w->s->result[e]) | NBI_EXPORTED;
}

bool nbi_assign(nbi_plan *s)
{
    nbi_code *c = s->code;
    assignment w = {.s = s};
    bool done = open_assignment(&w);
    if (done) {
        find_last(&w);
        if (c->block == NBI_LONG)
            find_homes(&w);
        assign_once(&w);
        assign_each(&w);
        export_sums(&w);
        done = !w.failed && size_workspace(&w);
    }
    nbi_list_free(s->heap, &c->once);
    nbi_list_free(s->heap, &c->each);
    c->once = w.once;
    c->each = w.each;
    if (done) {
        make_offsets(&w);
        nbi_instruction *a = nbi_list_add(s->heap, &c->once);
        nbi_instruction *b = nbi_list_add(s->heap, &c->each);
        done = a && b;
        if (done)
            a->code = b->code = NBI_DO_end;
    }
    nbi_resize(s->heap, w.slot, w.words * sizeof *w.slot, 0);
    nbi_list_free(s->heap, &w.spare);
    return done;
}
