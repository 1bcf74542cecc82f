/*
 * Regions: a function with a reverse rule of its own, both graph code.
 *
 * Let y = f(x), whatever steps f consists of. All that the pathwise sum needs of a node is how it
 * passes an adjoint on: g -> J^T g. So the steps can be left out, if that map is given: f is
 * evaluated with recording off, its nodes are forgotten, and one record takes their place, which
 * holds the values and calls the given rule. What the rule returns is believed. It is the derivative
 * of f where it is meant to be, and then only the work differs; or it is not, and then the gradient
 * of everything upstream is what the rule makes of it, in every mode and order alike: the numeric
 * sweep evaluates it, nb_diff records it, and forward mode, J t = d/du <J^T u, t>, sweeps it.
 *
 * A record has one result. A region of several has them one after the other in a vector, out of
 * which they are taken by ordinary operations; the rule's g is taken apart in the same way.
 *
 * The record is made on the spot, so that it bears the region's name, in the tape's memory just
 * before its node, and is forgotten with it.
 *
 * Vars that the caller's function keeps for later would name other nodes by then. So a new epoch
 * begins when its nodes are forgotten, as after a rewind, and they are stale.
 *
 * A function that uses a var which is not its operand would lose that var's gradient without a word.
 * So the nodes that f leaves are looked through, before they are forgotten, for operands that are
 * older than f, vary, and were not given.
 */
#include "diff/custom.h"

#include <nabla/ops.h>
#include <nabla/region.h>

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* The state of a region's node. A copy of the caller's context follows the shapes. */
typedef struct region {
    nb_region_spec spec;
    const void *values; /* of the results, one after the other, until the node holds them */
    size_t n_out;
    nb_shape shape[]; /* [n_out] */
} region;

void nbi_within(nb_tape *t, nb_code before, const char *format, ...)
{
    const size_t at = strlen(t->message);
    va_list args;
    if (before != NB_OK || t->code == NB_OK || at + 8 >= NBI_MESSAGE)
        return;
    memcpy(t->message + at, "\n    ", 6);
    va_start(args, format);
    vsnprintf(t->message + at + 5, NBI_MESSAGE - at - 5, format, args);
    va_end(args);
}

/* ---- what functions and rules must not do ---------------------------------------------------- */

static int by_place(const void *a, const void *b)
{
    uint32_t x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return (x > y) - (x < y);
}

/* Whether node i is older than the function, varies, and is none of the sorted places. */
static bool is_foreign(nb_tape *t, uint32_t i, uint32_t from, size_t n, const uint32_t *places)
{
    return i < from && !nbi_still(t, i) && !bsearch(&i, places, n, sizeof i, by_place);
}

static bool refuse_capture(nb_tape *t, const char *who, uint32_t i)
{
    const char *name = nb_inspect(nbi_var(t, i)).name;
    nbi_fail(t, NB_ERR_CALLBACK,
             "%s: the function uses node %u%s%.44s%s, which varies and is not among its operands; "
             "pass it, or detach it",
             who, i, name ? ", \"" : "", name ? name : "", name ? "\"" : "");
    return false;
}

bool nbi_captures_nothing(nb_tape *t, const char *who, uint32_t from, size_t n, const nb_var *in,
                          nb_var result)
{
    const nbi_spot spot = t->scratch.at;
    size_t count = 0;
    uint32_t *places = nbi_scratch(t, (n ? n : 1) * sizeof *places);
    if (!places)
        return nbi_no_memory(t, who), false;
    for (size_t k = 0; k < n; k++)
        if (in[k].tape)
            places[count++] = in[k].index;
    qsort(places, count, sizeof *places, by_place);
    bool clean = !result.tape || !is_foreign(t, result.index, from, count, places) ||
                 refuse_capture(t, who, result.index);
    for (uint32_t i = from; i < t->hot.length && clean; i++) {
        const size_t operands = nbi_operands(t, i);
        for (size_t k = 0; k < operands && clean; k++) {
            const uint32_t j = nbi_operand(t, i, k);
            clean = !is_foreign(t, j, from, count, places) || refuse_capture(t, who, j);
        }
    }
    nbi_give_back(&t->scratch, spot);
    return clean;
}

bool nbi_answer_fits(nb_tape *t, const char *who, nb_var d, nb_var of, size_t operand)
{
    const char letter = (char)('a' + operand % 26);
    char due[NBI_SHAPE_TEXT], is[NBI_SHAPE_TEXT];
    if (!d.tape || nbi_fits(t, d, of.index))
        return true;
    if (d.tape != t || !nbi_alive(t, d)) {
        nbi_fail(t, NB_ERR_CALLBACK, "%s: the reverse rule's answer for operand %c is %s", who,
                 letter,
                 d.tape != t       ? "of another tape"
                 : nbi_is_inert(d) ? "inert"
                                   : "stale");
        return false;
    }
    const nb_shape a = nb_shape_of(d), b = nb_shape_of(of);
    nbi_fail(t, NB_ERR_CALLBACK,
             "%s: the reverse rule's answer for operand %c has shape %s, which does not fit %s",
             who, letter, nbi_shape_text(is, a.rank, a.dims), nbi_shape_text(due, b.rank, b.dims));
    return false;
}

/* ---- the record ------------------------------------------------------------------------------ */

/* Where the copy of context stands behind the shapes; 0 if there are too many. */
static size_t head_of(size_t n_out)
{
    size_t bytes;
    if (__builtin_mul_overflow(n_out, sizeof(nb_shape), &bytes) || bytes > SIZE_MAX / 2)
        return 0;
    return (sizeof(region) + bytes + 15) & ~(size_t)15;
}

static int64_t size_of(nb_shape s) { return s.rank < 0 ? 1 : nb_shape_size(s); }

static nb_code region_shape(const nb_call *c, nb_shape *out)
{
    const region *s = c->state;
    int64_t total = 0;
    for (size_t j = 0; j < s->n_out; j++)
        if (__builtin_add_overflow(total, size_of(s->shape[j]), &total))
            return nb_refuse(c, NB_ERR_OVERFLOW, "the results have too many elements", NULL);
    *out = s->n_out == 1 ? s->shape[0] : NB_SHAPE(total);
    return NB_OK;
}

static nb_code region_forward(const nb_call *c)
{
    region *s = c->state;
    if (c->out->size)
        memcpy(c->out->data, s->values, (size_t)c->out->size * nbi_element(c->out->dtype));
    s->values = NULL;
    return NB_OK;
}

const nb_region_spec *nbi_region_spec_of(const nbi_record *r, void **context)
{
    region *s = r->op->forward == region_forward ? r->state : NULL;
    if (s)
        *context = s->spec.context_bytes ? (char *)s + head_of(s->n_out) : s->spec.context;
    return s ? &s->spec : NULL;
}

size_t nbi_region_results(const nbi_record *r) { return ((const region *)r->state)->n_out; }

/* The results, or their adjoints, out of the node that holds them all. */
static void take_apart(const region *s, nb_var all, nb_var *part)
{
    int64_t at = 0;
    for (size_t j = 0; j < s->n_out; j++) {
        const nb_shape shape = s->shape[j];
        const int64_t size = size_of(shape);
        if (s->n_out == 1)
            part[j] = all;
        else if (shape.rank < 0)
            part[j] = nb_at_index(all, 1, &at);
        else
            part[j] = nb_reshape(nb_slice(all, 0, at, at + size, 1), shape);
        at += size;
    }
}

static nb_code region_reverse(const nb_rule *r)
{
    const region *s = r->state;
    nb_tape *t = r->tape;
    const nbi_spot spot = t->scratch.at;
    const nb_code before = t->code;
    nb_var *out = nbi_scratch(t, s->n_out * sizeof *out);
    nb_var *g = nbi_scratch(t, s->n_out * sizeof *g);
    if (!out || !g)
        return nbi_no_memory(t, s->spec.name);
    take_apart(s, r->out, out);
    take_apart(s, r->g, g);
    nb_region_rule rule = {t, r->n_in, s->n_out, r->in, out, g, r->want, r->d};
    void *context = s->spec.context_bytes ? (char *)s + head_of(s->n_out) : s->spec.context;
    nb_code code = s->spec.reverse(context, &rule);
    nbi_within(t, before, "in the reverse rule of %s", s->spec.name);
    for (size_t k = 0; k < r->n_in && code == NB_OK; k++)
        if (r->want[k] && !nbi_answer_fits(t, s->spec.name, r->d[k], r->in[k], k))
            code = NB_ERR_CALLBACK;
    nbi_give_back(&t->scratch, spot);
    return code != NB_OK && t->code ? t->code : code;
}

/* ---- the call -------------------------------------------------------------------------------- */

/* A region under construction. */
typedef struct draft {
    nb_tape *t;
    const nb_region_spec *spec;
    size_t n_in, n_out, bytes;
    const nb_var *in;
    nb_var *out;
    region *state; /* scratch, as are its values */
    bool own;      /* the function is nabla's, and keeps no vars for later */
} draft;

/* Calls the function and checks what it gives. */
static nb_code evaluate(draft *f, uint32_t from)
{
    nb_tape *t = f->t;
    const char *name = f->spec->name;
    const nb_code before = t->code;
    const bool recording = nb_set_recording(t, false);
    t->busy++;
    nb_code code = f->spec->forward(f->spec->context, f->in, f->out);
    t->busy--;
    nb_set_recording(t, recording);
    nbi_within(t, before, "in the function of %s", name);
    if (code != NB_OK)
        return nbi_fail(t, code, "%s: the function failed", name);
    for (size_t j = 0; j < f->n_out; j++) {
        const nb_var y = f->out[j];
        if (y.tape ? y.tape != t || !nbi_alive(t, y) : nbi_is_inert(y))
            return nbi_fail(t, NB_ERR_CALLBACK, "%s: the function's result %zu is %s", name, j,
                            !y.tape           ? "missing"
                            : y.tape != t     ? "of another tape"
                            : nbi_is_inert(y) ? "inert"
                                              : "stale");
        if (!nbi_captures_nothing(t, name, j ? t->hot.length : from, f->n_in, f->in, y))
            return NB_ERR_CALLBACK;
    }
    return NB_OK;
}

/* Copies the results, which are about to be forgotten, to where the node's forward rule finds them. */
static nb_code keep_values(draft *f)
{
    nb_tape *t = f->t;
    const bool number = f->n_out == 1 && !nb_is_tensor(f->out[0]);
    const nb_dtype dtype = number ? NB_F64 : t->dtype;
    size_t total = 0, bytes;
    for (size_t j = 0; j < f->n_out; j++) {
        f->state->shape[j] = nb_shape_of(f->out[j]);
        if (__builtin_add_overflow(total, (size_t)size_of(f->state->shape[j]), &total))
            return nbi_fail(t, NB_ERR_OVERFLOW, "%s: too many elements", f->spec->name);
    }
    char *to =
        __builtin_mul_overflow(total, nbi_element(dtype), &bytes) ? NULL : nbi_scratch(t, bytes);
    if (!to)
        return nbi_no_memory(t, f->spec->name);
    f->state->values = to;
    for (size_t j = 0; j < f->n_out; j++) {
        bytes = (size_t)size_of(f->state->shape[j]) * nbi_element(dtype);
        const double value = f->state->shape[j].rank < 0 ? nb_value(f->out[j]) : 0;
        const float rounded = (float)value;
        const void *from = f->state->shape[j].rank >= 0 ? nb_data(f->out[j])
                           : dtype == NB_F64            ? (const void *)&value
                                                        : &rounded;
        if (bytes)
            memcpy(to, from, bytes);
        to += bytes;
    }
    return NB_OK;
}

/* The state, and a copy of the operands: their array may be that of the results. */
static nb_code open_draft(draft *f)
{
    nb_var *in = nbi_scratch(f->t, f->n_in * sizeof *in);
    const size_t head = head_of(f->n_out), more = f->spec->context_bytes;
    f->bytes = head + more;
    f->state = head && f->bytes >= head ? nbi_scratch(f->t, f->bytes) : NULL;
    if (!f->state || !in)
        return nbi_no_memory(f->t, f->spec->name);
    memcpy(in, f->in, f->n_in * sizeof *in);
    f->in = in;
    memset(f->state, 0, head);
    f->state->spec = *f->spec;
    f->state->n_out = f->n_out;
    if (more)
        memcpy((char *)f->state + head, f->spec->context, more);
    return NB_OK;
}

static nb_code record(draft *f)
{
    nb_tape *t = f->t;
    nb_op *op = nbi_take(&t->values, sizeof *op, _Alignof(nb_op));
    if (!op)
        return nbi_no_memory(t, f->spec->name);
    *op = (nb_op){.name = f->spec->name,
                  .doc = f->spec->doc,
                  .shape = region_shape,
                  .forward = region_forward,
                  .reverse = f->spec->reverse ? region_reverse : NULL};
    nb_var all = nb_apply(op, f->n_in, f->in, f->state, f->bytes);
    if (!nb_ok(all))
        return t->code ? t->code : NB_ERR_CALLBACK;
    take_apart(f->state, all, f->out);
    for (size_t j = 0; j < f->n_out; j++)
        if (!nb_ok(f->out[j]))
            return t->code ? t->code : NB_ERR_CALLBACK;
    return NB_OK;
}

static nb_code run(draft *f)
{
    const nb_mark before = nbi_mark(f->t);
    nb_code code = open_draft(f);
    for (size_t j = 0; j < f->n_out && code == NB_OK; j++)
        f->out[j] = NB_NONE;
    if (code == NB_OK)
        code = evaluate(f, before.length);
    if (code == NB_OK)
        code = keep_values(f);
    nbi_truncate(f->t, &before);
    if (code == NB_OK && !f->own)
        code = nbi_new_epoch(f->t, before.length);
    if (code == NB_OK)
        code = record(f);
    if (code != NB_OK)
        nbi_truncate(f->t, &before);
    return code;
}

nb_code nbi_region(const nb_region_spec *spec, bool own, size_t n_in, const nb_var *in,
                   size_t n_out, nb_var *out)
{
    nb_var inert = NB_NONE;
    const bool whole = spec && spec->name && spec->forward && n_in && in && n_out && out &&
                       (spec->context || !spec->context_bytes);
    nb_tape *t = whole ? nbi_home(spec->name, n_in, in, &inert) : NULL;
    nb_code code = whole ? NB_ERR_HANDLE : NB_ERR_ARGUMENT;
    if (t) {
        const nbi_spot scratch = t->scratch.at;
        draft f = {
            .t = t, .spec = spec, .n_in = n_in, .n_out = n_out, .in = in, .out = out, .own = own};
        code = run(&f) == NB_OK ? NB_OK : t->code;
        nbi_give_back(&t->scratch, scratch);
        inert = nbi_inert(t);
    } else if (inert.tape && inert.tape->code) {
        code = inert.tape->code;
    }
    for (size_t j = 0; j < n_out && out && code != NB_OK; j++)
        out[j] = inert;
    return code;
}

nb_code nb_region(const nb_region_spec *spec, size_t n_in, const nb_var *in, size_t n_out,
                  nb_var *out)
{
    return nbi_region(spec, false, n_in, in, n_out, out);
}
