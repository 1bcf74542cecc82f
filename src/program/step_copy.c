/*
 * Copying a recording to the tape of a step.
 *
 * What the loss and the outputs do not need is left behind. Nodes keep their order, so their kinds of
 * operands, and the course of the sweep, stay those of the recording.
 *
 * An operation's state may point to memory of its tape: what its rules kept, or what rules of another node,
 * which it was made from, kept for it. The rules are called again on the copy of the state, the shape
 * rule too, which puts pointers of the first kind right; from then on it is known what stands for the
 * address there was before, which puts those of the second kind right. A pointer that is left over
 * is one that a run could not renew, and refused. Elements are shared in the same way: the data of a
 * constant made by nb_detach are those of another node.
 */
#include "diff/hooks.h"
#include "ops/normal.h"
#include "ops/records.h"
#include "program/step.h"

/* ---- what is needed -------------------------------------------------------------------------- */

static bool holds(const nbi_arena *a, const void *p)
{
    for (const nbi_chunk *c = a->first; c; c = c->next)
        if ((uintptr_t)p >= (uintptr_t)c && (uintptr_t)p < (uintptr_t)c + c->size)
            return true;
    return false;
}

/* For a leaf with the elements of another node, that node + 1. */
static bool find_owners(nbi_freezer *f, uint32_t n, uint32_t *owner)
{
    nbi_step_map *m = &f->seen;
    for (uint32_t i = 0; i < n; i++) {
        const nbi_record *r = nbi_is_tensor(f->from, i) ? nbi_record_at(f->from, i) : NULL;
        owner[i] = 0;
        if (!r || !r->size)
            continue;
        const uintptr_t first = (uintptr_t)nbi_step_map_get(m, r->data);
        if (first && r->leaf && !nbi_record_at(f->from, (uint32_t)first - 1)->leaf)
            owner[i] = (uint32_t)first;
        else if (!first && !nbi_step_map_put(m, r->data, (void *)(uintptr_t)((size_t)i + 1)))
            return false;
    }
    nbi_step_map_clear(m);
    return true;
}

/* The youngest node in the chain with the leaves whose gradient is lent: a run with a loss writes them all,
 * zeros where no path leads. */
static uint32_t lent_from(const nbi_freezer *f)
{
    return f->recipe->loss.tape ? f->from->attention : NBI_INERT;
}

/* Marks the nodes from which the wanted ones are computed. */
static void mark(nbi_freezer *f, uint32_t n, const uint32_t *owner, uint8_t *need)
{
    const nb_frozen_recipe *c = f->recipe;
    memset(need, 0, n);
    if (c->loss.tape)
        need[c->loss.index] = 1;
    for (size_t k = 0; k < c->n_out; k++)
        need[c->out[k].index] = 1;
    for (size_t k = 0; k < c->n_in; k++)
        need[c->in[k].index] = 1;
    for (uint32_t i = lent_from(f); i != NBI_INERT; i = nbi_record_at(f->from, i)->older)
        need[i] = need[i] || nbi_record_at(f->from, i)->borrowed;
    for (uint32_t i = n; i-- > 0;) {
        if (need[i] && owner[i])
            need[owner[i] - 1] = 1;
        for (size_t k = 0; need[i] && k < nbi_operands(f->from, i); k++)
            need[nbi_operand(f->from, i, k)] = 1;
    }
}

/* ---- scalars --------------------------------------------------------------------------------- */

/* Words behind the operands of a function of many scalars. */
static size_t tail_words(uint8_t op, size_t n)
{
    return op == NBI_COMBINE ? 2 * n : op == NBI_MAXOUT ? 1 : 0;
}

static bool copy_scalar(nbi_freezer *f, uint32_t i)
{
    const nb_tape *from = f->from;
    nb_tape *t = f->t;
    const uint8_t op = from->hot.ops[i];
    const nbi_args a = from->hot.args[i];
    const int row = nbi_row_of(from, i);
    const size_t n = nbi_operands(from, i), tail = row < 0 ? tail_words(op, n) : 0;
    const bool listed = row < 0 ? n > 0 : n == 3 || (n == 2 && op == NBI_STILL);
    nbi_args to = a;
    if (listed) {
        uint32_t *list = nbi_list_room(t, n + tail);
        if (!list)
            return false;
        for (size_t k = 0; k < n; k++)
            list[k] = f->place[nbi_operand(from, i, k)] - 1;
        if (tail)
            memcpy(list + n, from->list + a.a + n, tail * sizeof *list);
        to.a = (uint32_t)t->list_length;
        t->list_length += n + tail;
    } else if (n) {
        to.a = f->place[a.a] - 1;
        to.b = n == 2 ? f->place[a.b] - 1 : a.b;
    }
    if (!nbi_room(t))
        return false;
    const uint32_t at = nbi_push(t, op, to.a, to.b, from->hot.cells[i].value).index;
    f->place[i] = at + 1;
    return nbi_step_emit_scalar(f, at);
}

/* ---- records --------------------------------------------------------------------------------- */

static bool lists(const nb_frozen_recipe *c, const nb_rng *r)
{
    bool listed = !r;
    for (size_t k = 0; k < c->n_rng && !listed; k++)
        listed = c->rng[k] == r;
    return listed;
}

/* Why the operation of this record cannot be frozen; NULL: it can. */
static const char *objection(const nbi_freezer *f, const nbi_record *r)
{
    if (r->leaf)
        return r->state ? "its gradient is that of the rows looked up" : NULL;
    if (r->inside)
        return "its interior is not on the tape";
    if (nbi_hook_calls(r->op))
        return "it calls a function of the caller's";
    if (holds(f->source, r->op))
        return "it is a region, whose rule is called anew each time";
    if (r->op->destroy || r->state_bytes == UINT32_MAX)
        return r->op->destroy ? "its state wants destruction" : "its state is too large";
    if (r->op == &nbi_op_dropout && !lists(f->recipe, nbi_dropout_rng(r->state)))
        return "its generator is not named in the recipe";
    if (r->op == &nbi_op_batch_norm && ((const nbi_normal *)r->state)->past)
        return "running statistics would not move";
    return NULL;
}

/* Where the elements of a leaf stand: with another node, with the caller, or in a copy. */
static void *leaf_data(nbi_freezer *f, const nbi_record *r)
{
    const size_t bytes = (size_t)r->size * nbi_element(f->t->dtype);
    void *shared = r->size ? nbi_step_map_get(&f->seen, r->data) : NULL;
    if (shared || !holds(f->source, r->data))
        return shared ? shared : r->data;
    void *copy = nbi_step_args(f, bytes);
    if (copy && bytes)
        memcpy(copy, r->data, bytes);
    return copy;
}

static void *place_data(nbi_freezer *f, const nbi_record *r, const uint32_t *in)
{
    if (r->leaf)
        return leaf_data(f, r);
    if (r->op->view)
        return nbi_record_at(f->t, in[0])->data;
    return nbi_step_array(f, (size_t)r->size * nbi_element(f->t->dtype), NULL);
}

/* The words of a state. */
static size_t words(const nbi_record *r) { return r->state_bytes / sizeof(void *); }

static void *word(const nbi_record *r, size_t k)
{
    void *w;
    memcpy(&w, (const char *)r->state + k * sizeof w, sizeof w);
    return w;
}

static void set_word(nbi_record *r, size_t k, void *w)
{
    memcpy((char *)r->state + k * sizeof w, &w, sizeof w);
}

nbi_record *nbi_step_copy_record(nbi_freezer *f, uint32_t named, const nbi_record *r,
                                 const uint32_t *in)
{
    const char *why = objection(f, r);
    if (why) {
        nbi_fail(f->t, NB_ERR_ARGUMENT, "%s: node %u cannot be frozen: %s", r->op->name, named,
                 why);
        return NULL;
    }
    const size_t fixed = (sizeof *r + r->n_in * sizeof *in + 15) & ~(size_t)15;
    const size_t dims = r->rank > 0 ? (size_t)r->rank * sizeof *r->dims : 0;
    nbi_record *to = nbi_step_args(f, fixed + (size_t)r->state_bytes);
    int64_t *d = nbi_step_args(f, dims);
    if (!to || !d)
        return NULL;
    *to = *r;
    if (dims)
        memcpy(d, r->dims, dims);
    for (size_t k = 0; k < r->n_in; k++)
        to->in[k] = in[k];
    to->dims = d;
    to->grad = to->tangent = NULL;
    if (r->state_bytes)
        to->state = memcpy((char *)to + fixed, r->state, r->state_bytes);
    for (size_t k = 0; k < words(r); k++) {
        void *known = nbi_step_map_get(&f->seen, word(r, k));
        if (known)
            set_word(to, k, known);
    }
    if (r->rank < 0)
        return to;
    to->data = place_data(f, r, in);
    if (to->data && r->size && !nbi_step_map_put(&f->seen, r->data, to->data))
        to->data = NULL;
    if (!to->data)
        nbi_no_memory(f->t, "freeze");
    return to->data ? to : NULL;
}

/* Calls the shape rule again, for what it puts into the state. */
static bool shape_again(nbi_freezer *f, nbi_record *r)
{
    nb_tape *t = f->t;
    const nb_op *op = r->op;
    if (!op->shape || !r->state_bytes)
        return true;
    const nbi_spot spot = t->scratch.at;
    nb_array *in = nbi_scratch(t, r->n_in * sizeof *in), out = {0};
    float *rounded = nbi_scratch(t, r->n_in * sizeof *rounded);
    if (!in || !rounded) {
        nbi_no_memory(t, op->name);
        return false;
    }
    for (size_t k = 0; k < r->n_in; k++)
        in[k] = nbi_array_of(t, r->in[k], &rounded[k]);
    const nb_call c = {t, op, r->n_in, in, &out, r->state, NULL};
    nb_shape shape = {r->n_in ? in[0].rank : -1, {0}};
    for (int i = 0; i < shape.rank; i++)
        shape.dims[i] = in[0].dims[i];
    nb_code code = op->shape(&c, &shape);
    bool same = code == NB_OK && shape.rank == r->rank;
    for (int i = 0; same && i < r->rank; i++)
        same = shape.dims[i] == r->dims[i];
    if (!same)
        nb_refuse(&c, code ? code : NB_ERR_CALLBACK,
                  "cannot be frozen: its shape rule, called again, gives another shape", NULL);
    nbi_give_back(&t->scratch, spot);
    return same;
}

bool nbi_step_revive(nbi_freezer *f, uint32_t i, const nbi_record *r)
{
    nbi_record *to = nbi_record_at(f->t, i);
    if (r->leaf)
        return true;
    if (!shape_again(f, to) || !nbi_step_emit_call(f, i))
        return false;
    for (size_t k = 0; k < words(r); k++) {
        void *old = word(r, k), *new = word(to, k);
        if (new &&old == new &&holds(f->source, old)) {
            nbi_fail(f->t, NB_ERR_CALLBACK,
                     "%s: cannot be frozen: its state points to memory of the tape", r->op->name);
            return false;
        }
        if (new &&old != new &&holds(f->source, old) && !nbi_step_map_put(&f->seen, old, new))
            return nbi_no_memory(f->t, "freeze"), false;
        if (!nbi_step_use(f, (char *)to->state + k * sizeof new))
            return false;
    }
    return true;
}

static bool copy_record(nbi_freezer *f, uint32_t i)
{
    const nbi_record *r = nbi_record_at(f->from, i);
    nb_tape *t = f->t;
    const nbi_spot spot = t->scratch.at;
    uint32_t *in = nbi_scratch(t, r->n_in * sizeof *in);
    for (size_t k = 0; in && k < r->n_in; k++)
        in[k] = f->place[r->in[k]] - 1;
    nbi_record *to = in ? nbi_step_copy_record(f, i, r, in) : NULL;
    nbi_give_back(&t->scratch, spot);
    if (!to || !nbi_room(t))
        return false;
    if (r->borrowed)
        to->grad = r->grad;
    nbi_args args;
    memcpy(&args, &to, sizeof args);
    const uint32_t at = nbi_push(t, NBI_RECORD, args.a, args.b, 0).index;
    f->place[i] = at + 1;
    return nbi_step_revive(f, at, r);
}

bool nbi_step_copy_recording(nbi_freezer *f)
{
    const nb_frozen_recipe *c = f->recipe;
    const uint32_t lent = lent_from(f);
    uint32_t top = c->loss.tape ? c->loss.index : 0, n;
    top = lent != NBI_INERT && lent > top ? lent : top;
    for (size_t k = 0; k < c->n_out; k++)
        top = c->out[k].index > top ? c->out[k].index : top;
    for (size_t k = 0; k < c->n_in; k++)
        top = c->in[k].index > top ? c->in[k].index : top;
    n = top + 1;
    uint32_t *owner = nbi_take(&f->work, (size_t)n * sizeof *owner, _Alignof(uint32_t));
    uint8_t *need = nbi_take(&f->work, n, 1);
    f->place = nbi_take(&f->work, (size_t)n * sizeof *f->place, _Alignof(uint32_t));
    f->call = nbi_take(&f->work, (size_t)n * sizeof *f->call, _Alignof(void *));
    if (!owner || !need || !f->place || !f->call || !find_owners(f, n, owner)) {
        nbi_no_memory(f->t, "freeze");
        return false;
    }
    mark(f, n, owner, need);
    f->source = &f->from->values;
    for (uint32_t i = 0; i < n; i++) {
        const bool record = f->from->hot.ops[i] == NBI_RECORD;
        if (need[i] && !(record ? copy_record(f, i) : copy_scalar(f, i)))
            return false;
    }
    f->s->nodes = f->t->hot.length;
    return true;
}
