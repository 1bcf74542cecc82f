/*
 * Recording a region: what its function does is looked at, kept where it must be, and forgotten.
 *
 * The operands of the base are found, not declared: they are the nodes below the base, not constant,
 * that some interior node on a way to an output refers to. So a function may capture vars by its
 * context, and what asks the graph (which gradients are wanted, whether a path exists) sees them.
 */
#include "diff/region.h"

#include <math.h>
#include <stdio.h>

const nb_op nbi_segment_op = {.name = "segment", .doc = "a function whose interior is not kept"};
const nb_op nbi_loop_op = {.name = "loop", .doc = "a state's steps, whose interior is not kept"};
static const nb_op output_op = {.name = "output", .doc = "an output of a segment or loop"};

/* ---- opening ---------------------------------------------------------------------------------- */

bool nbi_region_given(bool given, const nbi_region *like, size_t context_bytes, size_t n_out,
                      nb_var *out)
{
    given = given && n_out && out && (!context_bytes || like->context);
    given = given && (!like->n_rng || like->rng);
    for (size_t k = 0; given && k < like->n_rng; k++)
        given = like->rng[k] != NULL;
    for (size_t k = 0; !given && out && k < n_out; k++)
        out[k] = NB_NONE;
    return given;
}

static void *room(nb_tape *t, size_t n, size_t width, const void *copy)
{
    size_t bytes;
    void *p = __builtin_mul_overflow(n, width, &bytes) ? NULL : nbi_take(&t->values, bytes, 16);
    if (p && copy && bytes)
        memcpy(p, copy, bytes);
    return p;
}

static char *title_of(nb_tape *t, const char *what, const char *name)
{
    const size_t bytes = strlen(what) + (name ? strlen(name) : 0) + 4;
    char *title = room(t, bytes, 1, NULL);
    if (title)
        snprintf(title, bytes, name ? "%s \"%s\"" : "%s%s", what, name ? name : "");
    return title;
}

nbi_region *nbi_region_open(nb_tape *t, const nbi_region *like, const char *what, const char *name,
                            size_t context_bytes, size_t n_out)
{
    if (n_out > NBI_INERT / 4 || t->hot.length > NBI_INERT - 2 - n_out) {
        nbi_fail(t, NB_ERR_LIMIT, "%s: no room for %zu outputs", what, n_out);
        return NULL;
    }
    nbi_region *g = room(t, 1, sizeof *g, like);
    bool ok = g && (g->title = title_of(t, what, name)) &&
              (g->in = room(t, g->n_in, sizeof *g->in, like->in)) &&
              (g->rng = room(t, g->n_rng, sizeof *g->rng, like->rng)) &&
              (g->first = room(t, g->n_rng, sizeof *g->first, NULL)) &&
              (g->form = room(t, n_out, sizeof *g->form, NULL)) &&
              (g->node = room(t, n_out, sizeof *g->node, NULL)) &&
              (g->source = room(t, n_out, sizeof *g->source, NULL)) &&
              (!context_bytes || (g->context = room(t, context_bytes, 1, like->context)));
    if (!ok) {
        nbi_no_memory(t, what);
        return NULL;
    }
    for (size_t k = 0; k < g->n_rng; k++)
        g->first[k] = *g->rng[k];
    g->n_out = n_out;
    g->base = t->hot.length;
    return g;
}

/* ---- calling ---------------------------------------------------------------------------------- */

bool nbi_region_call(nb_tape *t, const nbi_region *g, int64_t step, uint32_t low, const nb_var *in,
                     nb_var *out)
{
    for (size_t k = 0; k < g->n_out; k++)
        out[k] = NB_NONE;
    const bool recording = t->recording;
    t->busy++;
    nb_code code = g->once ? g->once(g->context, in, out) : g->step(g->context, step, in, out);
    t->busy--;
    nb_set_recording(t, recording);
    if (code != NB_OK) {
        nbi_fail(t, code, "%s: the function failed (call %lld)", g->title, (long long)step);
        return false;
    }
    for (size_t k = 0; k < g->n_out; k++) {
        if (!out[k].tape && !nbi_is_inert(out[k]))
            out[k] = nb_constant(t, nbi_number(out[k]));
        const bool ours = out[k].tape == t && nbi_alive(t, out[k]);
        if (!ours ||
            (out[k].index >= g->base && out[k].index < low && !nbi_still(t, out[k].index))) {
            nbi_fail(t, NB_ERR_CALLBACK, "%s: output %zu of call %lld is %s", g->title, k,
                     (long long)step,
                     ours                   ? "younger than the node itself"
                     : nbi_is_inert(out[k]) ? "not set, or an operation failed"
                                            : "stale or of another tape");
            return false;
        }
    }
    return true;
}

bool nbi_region_forms(nb_tape *t, nbi_region *g, const nb_var *out)
{
    g->bytes = 0;
    for (size_t k = 0; k < g->n_out; k++) {
        nbi_form *f = &g->form[k];
        const bool tensor = out[k].tape && nbi_is_tensor(t, out[k].index);
        const nbi_record *r = tensor ? nbi_record_at(t, out[k].index) : NULL;
        *f = (nbi_form){.rank = -1, .size = 1, .bytes = sizeof(double)};
        if (r)
            *f = (nbi_form){r->dims, r->size, r->rank, 0, (size_t)r->size * nbi_element(t->dtype)};
        const size_t align = r ? NBI_ALIGN : sizeof(double);
        f->at = (g->bytes + align - 1) & ~(align - 1);
        if (f->at < g->bytes || __builtin_add_overflow(f->at, f->bytes, &g->bytes)) {
            nbi_fail(t, NB_ERR_OVERFLOW, "%s: the size of the state overflows", g->title);
            return false;
        }
    }
    return true;
}

bool nbi_region_fits(nb_tape *t, const nbi_region *g, const nb_var *out)
{
    for (size_t k = 0; k < g->n_out; k++) {
        const nbi_form *f = &g->form[k];
        const nbi_record *r =
            nbi_is_tensor(t, out[k].index) ? nbi_record_at(t, out[k].index) : NULL;
        bool same = (r ? r->rank : -1) == f->rank;
        for (int d = 0; same && d < f->rank; d++)
            same = r->dims[d] == f->dims[d];
        if (!same) {
            const nb_shape is = nb_shape_of(out[k]);
            char a[NBI_SHAPE_TEXT], b[NBI_SHAPE_TEXT];
            nbi_fail(t, NB_ERR_SHAPE, "%s: output %zu has shape %s, not %s", g->title, k,
                     nbi_shape_text(a, is.rank, is.dims), nbi_shape_text(b, f->rank, f->dims));
            return false;
        }
    }
    return true;
}

/* ---- what the interior refers to -------------------------------------------------------------- */

static uint32_t *place(const nbi_touched *s, uint32_t i)
{
    size_t at = (i * 0x9e3779b1u) & (2 * s->room - 1);
    while (s->table[at] != NBI_INERT && s->table[at] != i)
        at = (at + 1) & (2 * s->room - 1);
    return &s->table[at];
}

static bool widen(nb_tape *t, nbi_touched *s)
{
    nbi_touched to = {.count = s->count, .room = s->room ? 2 * s->room : 32};
    to.list = nbi_scratch(t, to.room * sizeof *to.list);
    to.table = nbi_scratch(t, 2 * to.room * sizeof *to.table);
    if (!to.list || !to.table) {
        nbi_no_memory(t, "the operands of a segment or loop");
        return false;
    }
    memset(to.table, 0xff, 2 * to.room * sizeof *to.table);
    for (size_t k = 0; k < s->count; k++)
        *place(&to, to.list[k] = s->list[k]) = s->list[k];
    *s = to;
    return true;
}

static bool touch(nb_tape *t, nbi_touched *s, uint32_t i)
{
    if (s->count == s->room && !widen(t, s))
        return false;
    uint32_t *at = place(s, i);
    if (*at == NBI_INERT)
        s->list[s->count++] = *at = i;
    return true;
}

bool nbi_region_touched(nb_tape *t, const nbi_region *g, uint32_t low, const nb_var *out,
                        nbi_touched *set)
{
    const uint32_t high = t->hot.length;
    nbi_spot spot = t->marks.at;
    uint8_t *live = nbi_take(&t->marks, high - low + 1, 1);
    bool ok = live || (nbi_no_memory(t, g->title), false);
    if (live)
        memset(live, 0, high - low + 1);
    for (size_t k = 0; ok && k < g->n_out; k++)
        if (out[k].index >= low)
            live[out[k].index - low] = 1;
    for (uint32_t i = high; ok && i-- > low;) {
        const nbi_record *r = t->hot.ops[i] == NBI_RECORD ? nbi_record_at(t, i) : NULL;
        if (r && r->borrowed) {
            nbi_fail(t, NB_ERR_ARGUMENT,
                     "%s: a gradient is borrowed inside; borrow outside and pass the var",
                     g->title);
            ok = false;
        }
        const uint32_t *x;
        const size_t n = live[i - low] ? nbi_ways(t, i, &x) : 0;
        for (size_t k = 0; ok && k < n; k++)
            if (x[k] >= low)
                live[x[k] - low] = 1;
            else if (!nbi_still(t, x[k]))
                ok = touch(t, set, x[k]);
    }
    nbi_give_back(&t->marks, spot);
    return ok;
}

bool nbi_region_forget(nb_tape *t, const nb_mark *m)
{
    nbi_truncate(t, m);
    return nbi_new_epoch(t, m->length) == NB_OK;
}

/* ---- closing ---------------------------------------------------------------------------------- */

static nbi_record *new_record(nb_tape *t, const nb_op *op, size_t n, const uint32_t *in)
{
    nbi_record *r = n > UINT32_MAX / 4 || !nbi_room(t)
                        ? NULL
                        : nbi_take(&t->values, sizeof *r + n * sizeof *in, 16);
    if (!r) {
        nbi_no_memory(t, op->name);
        return NULL;
    }
    *r = (nbi_record){.op = op, .n_in = (uint32_t)n, .older = NBI_INERT, .rank = -1, .size = 1};
    if (n)
        memcpy(r->in, in, n * sizeof *in);
    return r;
}

static uint32_t push(nb_tape *t, nbi_record *r, double value)
{
    nbi_args args;
    memcpy(&args, &r, sizeof args);
    return nbi_push(t, NBI_RECORD, args.a, args.b, value).index;
}

/* The node of an output that has its own. */
static bool record_output(nb_tape *t, nbi_region *g, size_t k, const nbi_image *m)
{
    const nbi_form *f = &g->form[k];
    nbi_record *r = new_record(t, &output_op, 1, &g->base);
    double value = 0;
    if (!r)
        return false;
    r->inside = &nbi_region_output;
    if (f->rank < 0) {
        memcpy(&value, m->bytes + f->at, sizeof value);
    } else {
        r->rank = f->rank;
        r->size = f->size;
        r->data = nbi_take(&t->values, f->bytes, NBI_ALIGN);
        r->dims = room(t, (size_t)f->rank, sizeof *f->dims, f->dims);
        if (!r->data || !r->dims) {
            nbi_no_memory(t, g->title);
            return false;
        }
        memcpy(r->data, m->bytes + f->at, f->bytes);
        value = (double)NAN;
    }
    g->node[k] = push(t, r, value);
    return true;
}

static bool record_constant(nb_tape *t, nbi_region *g, size_t k, const nbi_image *m)
{
    const nbi_form *f = &g->form[k];
    double value;
    nb_var v;
    if (f->rank < 0) {
        memcpy(&value, m->bytes + f->at, sizeof value);
        v = nb_constant(t, value);
    } else {
        nbi_record *r = nbi_leaf(t, nb_shape_make((size_t)f->rank, f->dims), NULL, true, &v);
        if (r)
            memcpy(r->data, m->bytes + f->at, f->bytes);
    }
    g->node[k] = v.index;
    return nb_ok(v);
}

static bool record_base(nb_tape *t, nbi_region *g, const nbi_touched *set)
{
    nbi_record *r = new_record(t, g->once ? &nbi_segment_op : &nbi_loop_op, set->count, set->list);
    if (!r)
        return false;
    r->inside = &nbi_region_base;
    r->state = g;
    return push(t, r, 0) == g->base;
}

bool nbi_region_close(nb_tape *t, nbi_region *g, const nbi_touched *set, const nbi_image *m,
                      nb_var *out)
{
    bool ok = true, any = false;
    for (size_t k = 0; k < g->n_out; k++)
        any = any || (m->source[k] >= g->base && m->source[k] != NBI_INERT);
    if (any)
        ok = record_base(t, g, set);
    for (size_t k = 0; k < g->n_out && ok; k++) {
        const uint32_t s = g->source[k] = m->source[k];
        g->node[k] = s;
        if (s == NBI_INERT)
            ok = record_constant(t, g, k, m);
        else if (s == nbi_own(k))
            ok = record_output(t, g, k, m);
        else if (s >= g->base)
            g->node[k] = g->node[nbi_own(0) - s];
    }
    for (size_t k = 0; k < g->n_out && ok; k++) {
        out[k] = nbi_var(t, g->node[k]);
        if (g->form[k].rank > 0) /* those of a segment were the interior's */
            g->form[k].dims = nbi_record_at(t, g->node[k])->dims;
    }
    return ok;
}
