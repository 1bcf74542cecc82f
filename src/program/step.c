/*
 * Freezing a step, running it, and reading what it computed.
 */
#include "program/step.h"

#include <math.h>
#include <nabla/ops.h>

/* ---- building --------------------------------------------------------------------------------- */

void *nbi_step_args(nbi_freezer *f, size_t bytes)
{
    void *p = nbi_take(&f->s->args, bytes, 16);
    if (!p)
        nbi_no_memory(f->t, "freeze");
    return p;
}

bool nbi_step_emit(nbi_freezer *f, nbi_step_fn *run, void *args)
{
    nb_frozen *s = f->s;
    if (s->n == s->room) {
        const size_t room = s->room ? 2 * s->room : 32;
        nbi_step_op *ops =
            nbi_resize(&f->t->heap, s->ops, s->room * sizeof *ops, room * sizeof *ops);
        if (!ops) {
            nbi_no_memory(f->t, "freeze");
            return false;
        }
        s->ops = ops;
        s->room = room;
    }
    const nbi_step_op op = {run, args};
    s->ops[s->n] = op;
    f->t->keep = &s->keep;
    const bool done = run(s, &s->ops[s->n]) != NULL;
    f->t->keep = NULL;
    s->n++;
    return done;
}

static nb_frozen *open_step(const nb_frozen_recipe *c, const nb_tape *from)
{
    const nb_options o = {.allocator = c->allocator ? *c->allocator : from->heap.allocator,
                          .dtype = from->dtype,
                          .pool = c->pool};
    nb_tape *t = nb_tape_new(&o);
    nb_frozen *s = t ? nbi_resize(&t->heap, NULL, 0, sizeof *s) : NULL;
    if (!s) {
        nb_tape_free(t);
        return NULL;
    }
    *s = (nb_frozen){.t = t, .freezing = true};
    t->busy = 1; /* for ever: nobody may sweep or rewind it */
    nb_set_isa(t, nb_isa_name(from));
    nbi_arena_init(&s->args, &t->heap, 4096);
    nbi_arena_init(&s->keep, &t->heap, 1024);
    if (!nbi_take(&s->keep, 1,
                  1)) { /* so that it has a first chunk to begin in, now and in every run */
        nb_frozen_free(s);
        return NULL;
    }
    nbi_give_back_all(&s->keep);
    return s;
}

void nb_frozen_free(nb_frozen *s)
{
    if (!s)
        return;
    nb_tape *t = s->t;
    nbi_arena_free(&s->args);
    nbi_arena_free(&s->keep);
    nbi_resize(&t->heap, s->ops, s->room * sizeof *s->ops, 0);
    nbi_resize(&t->heap, s, sizeof *s, 0);
    t->busy = 0;
    nb_tape_free(t);
}

/* ---- the recipe ------------------------------------------------------------------------------ */

/* The tape of all vars in the recipe; NULL after an error. */
static nb_tape *home_of(const nb_frozen_recipe *c)
{
    nb_var inert;
    const nb_var first = c->loss.tape ? c->loss : c->n_out && c->out ? c->out[0] : nb_num(0);
    nb_tape *t = first.tape;
    if (!t)
        return NULL;
    if ((c->n_out && !c->out) || (c->n_in && !c->in) || (c->n_rng && !c->rng))
        return nbi_fail(t, NB_ERR_ARGUMENT, "freeze: a list of the recipe is NULL"), NULL;
    if (nbi_busy(t, "freeze") || t->code || !nbi_home("freeze", 1, &first, &inert) ||
        (c->n_out && !nbi_home("freeze", c->n_out, c->out, &inert)) ||
        (c->n_in && !nbi_home("freeze", c->n_in, c->in, &inert)))
        return NULL;
    for (size_t k = 0; k < c->n_out; k++)
        if (c->out[k].tape != t)
            return nbi_fail(t, NB_ERR_HANDLE, "freeze: output %zu is a number or of another tape",
                            k),
                   NULL;
    for (size_t k = 0; k < c->n_in; k++) {
        const bool here = c->in[k].tape == t;
        const uint8_t op = here ? t->hot.ops[c->in[k].index] : 0;
        if (!here || (op != NBI_INPUT && op != NBI_CONSTANT))
            return nbi_fail(t, NB_ERR_ARGUMENT,
                            "freeze: input %zu is not a scalar input or constant", k),
                   NULL;
    }
    if (c->loss.tape && nb_size(c->loss) != 1)
        return nbi_fail(t, NB_ERR_SEED, "freeze: the loss, node %u, has %lld elements",
                        c->loss.index, (long long)nb_size(c->loss)),
               NULL;
    return t;
}

static nbi_step_out output(nbi_freezer *f, nb_var v)
{
    const uint32_t i = f->place[v.index] - 1;
    if (!nbi_is_tensor(f->t, i))
        return (nbi_step_out){NULL, i, 1};
    const nbi_record *r = nbi_record_at(f->t, i);
    return (nbi_step_out){r->data, i, r->size};
}

static bool list_ends(nbi_freezer *f)
{
    nb_frozen *s = f->s;
    const nb_frozen_recipe *c = f->recipe;
    s->out = nbi_step_args(f, (c->n_out + 1) * sizeof *s->out);
    s->in = nbi_step_args(f, c->n_in * sizeof *s->in);
    if (!s->out || !s->in)
        return false;
    s->n_out = c->n_out;
    s->n_in = c->n_in;
    for (size_t k = 0; k < c->n_out; k++)
        s->out[k] = output(f, c->out[k]);
    s->out[c->n_out] = c->loss.tape ? output(f, c->loss) : (nbi_step_out){NULL, 0, 0};
    for (size_t k = 0; k < c->n_in; k++)
        s->in[k] = f->place[c->in[k].index] - 1;
    return true;
}

/* What is read after a run is used when all instructions are past. */
static bool use_ends(nbi_freezer *f)
{
    nb_frozen *s = f->s;
    bool done = true;
    for (size_t k = 0; k <= s->n_out; k++)
        done = done && nbi_step_use(f, &s->out[k].data);
    return done;
}

static bool build(nbi_freezer *f)
{
    nb_frozen *s = f->s;
    if (!nbi_step_copy_recording(f) || !list_ends(f))
        return false;
    s->n_forward = s->n;
    nb_set_recording(f->t, false);
    if (f->recipe->loss.tape && !nbi_step_emit_reverse(f))
        return false;
    return use_ends(f) && nbi_step_layout(f);
}

/* The generators' states, to be given back. */
static nb_rng *save(nbi_freezer *f)
{
    const size_t n = f->recipe->n_rng;
    nb_rng *old = nbi_take(&f->work, n * sizeof *old, 16);
    for (size_t k = 0; old && k < n; k++)
        old[k] = *f->recipe->rng[k];
    return old;
}

static bool freeze(nbi_freezer *f)
{
    nb_frozen *s = f->s;
    nb_tape *t = s->t;
    nbi_arena_init(&f->work, &t->heap, 4096);
    nbi_arena_init(&f->rough, &t->heap, 4096);
    nbi_arena_init(&f->rules, &t->heap, 4096);
    nbi_step_map_open(&f->seen, &t->heap);
    nbi_step_map_open(&f->buffers, &t->heap);
    nb_rng *old = save(f);
    if (!old)
        nbi_no_memory(t, "freeze");
    const bool done = old && build(f);
    for (size_t k = 0; old && k < f->recipe->n_rng; k++)
        *f->recipe->rng[k] = old[k];
    nbi_step_map_close(&f->seen);
    nbi_step_map_close(&f->buffers);
    nbi_arena_free(&f->rules);
    nbi_arena_free(&f->rough);
    nbi_arena_free(&f->work);
    s->freezing = false;
    t->keep = &s->keep;
    return done;
}

nb_frozen *nb_freeze_step(const nb_frozen_recipe *recipe)
{
    nb_tape *from = recipe ? home_of(recipe) : NULL;
    if (!from)
        return NULL;
    nbi_freezer f = {.s = open_step(recipe, from), .from = from, .recipe = recipe};
    if (!f.s) {
        nbi_no_memory(from, "freeze");
        return NULL;
    }
    f.t = f.s->t;
    if (freeze(&f))
        return f.s;
    nbi_no_memory(f.t, "the plan"); /* unless it says why already */
    nbi_fail(from, f.t->code, "freeze: %s", f.t->message);
    nb_frozen_free(f.s);
    return NULL;
}

/* ---- running --------------------------------------------------------------------------------- */

nb_code nb_frozen_run(nb_frozen *s)
{
    if (!s)
        return NB_ERR_ARGUMENT;
    nb_tape *t = s->t;
    if (t->code)
        nb_clear(t);
    nbi_give_back_all(&s->keep);
    const nbi_step_op *o = s->ops, *turn = o + s->n_forward, *end = o + s->n;
    t->recording = true;
    while (o && o < turn)
        o = o->run(s, o);
    t->recording = false;
    while (o && o < end)
        o = o->run(s, o);
    return o == end ? NB_OK : t->code ? t->code : NB_ERR_CALLBACK;
}

const char *nb_frozen_message(const nb_frozen *s) { return s ? s->t->message : "there is no step"; }

nb_code nb_frozen_set(nb_frozen *s, size_t k, double value)
{
    if (!s || k >= s->n_in)
        return NB_ERR_ARGUMENT;
    s->t->hot.cells[s->in[k]].value = value;
    return NB_OK;
}

double nb_frozen_grad(const nb_frozen *s, size_t k)
{
    return s && k < s->n_in ? s->t->hot.cells[s->in[k]].adjoint : (double)NAN;
}

static double number(const nb_frozen *s, const nbi_step_out *o)
{
    if (o->size != 1)
        return (double)NAN;
    if (!o->data)
        return s->t->hot.cells[o->node].value;
    return s->t->dtype == NB_F64 ? *(const double *)o->data : (double)*(const float *)o->data;
}

double nb_frozen_loss(const nb_frozen *s) { return s ? number(s, &s->out[s->n_out]) : (double)NAN; }

double nb_frozen_value(const nb_frozen *s, size_t k)
{
    return s && k < s->n_out ? number(s, &s->out[k]) : (double)NAN;
}

const void *nb_frozen_data(const nb_frozen *s, size_t k)
{
    if (!s || k >= s->n_out)
        return NULL;
    const nbi_step_out *o = &s->out[k];
    return o->data ? o->data : &s->t->hot.cells[o->node].value;
}

nb_frozen_info nb_frozen_inspect(const nb_frozen *s)
{
    if (!s)
        return (nb_frozen_info){0};
    return (nb_frozen_info){.forward = s->n_forward,
                            .reverse = s->n - s->n_forward,
                            .bytes = s->t->heap.used,
                            .plan = s->plan_bytes,
                            .unshared = s->unshared};
}
