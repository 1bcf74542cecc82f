/*
 * Messages: the first error sticks, and says enough to be acted on.
 *
 *     matmul: inner dimensions differ
 *         a  "hidden"  [32 16]   node 41, from tanh
 *         b  "w2"      [20 2]    node 7, input
 *         a has 16 columns, b has 20 rows
 *
 * The text lives in the tape itself, so that running out of memory can be told too.
 */
#include "tape/tape.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

/* A text that grows to the end of its buffer and then stops. */
typedef struct text {
    char *at, *end;
} text;

static void vsay(text *s, const char *format, va_list args)
{
    size_t left = (size_t)(s->end - s->at);
    int n = vsnprintf(s->at, left, format, args);
    if (n > 0)
        s->at += (size_t)n < left ? (size_t)n : left - 1;
}

static void say(text *s, const char *format, ...) NBI_FORMAT(2, 3);
static void say(text *s, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsay(s, format, args);
    va_end(args);
}

/* Claims the message for this error; false if an earlier one stands. */
static bool begin(nb_tape *t, nb_code code, text *s)
{
    if (!t || t->code != NB_OK)
        return false;
    t->code = code;
    *s = (text){t->message, t->message + NBI_MESSAGE};
    if (t->file)
        say(s, "%s:%d: ", t->file, t->line);
    return true;
}

/* "    a  "hidden"  [32 16]   node 41, from tanh"; a number that stood in the call has no node to speak
 * of, only its value. */
static void describe(text *s, char letter, nb_var v)
{
    char shape[NBI_SHAPE_TEXT], name[48] = "";
    if (v.tape->hot.ops[v.index] == NBI_CONSTANT) {
        say(s, "\n    %c  the number %g", letter, v.tape->hot.cells[v.index].value);
        return;
    }
    nb_info info = nb_inspect(v);
    nb_shape dims = nb_shape_of(v);
    if (info.name)
        snprintf(name, sizeof name, "\"%.44s\"", info.name);
    say(s, "\n    %c  %-10s %-12s node %zu, %s%s", letter, name,
        nbi_shape_text(shape, dims.rank, dims.dims), info.place, info.n_in ? "from " : "", info.op);
}

static void describe_all(text *s, size_t n, const nb_var *v)
{
    enum { MOST = 6 };
    for (size_t k = 0; k < n && k < MOST; k++)
        describe(s, (char)('a' + k), v[k]);
    if (n > MOST)
        say(s, "\n    and %zu more", n - MOST);
}

nb_code nbi_fail(nb_tape *t, nb_code code, const char *format, ...)
{
    text s;
    if (!begin(t, code, &s))
        return code;
    va_list args;
    va_start(args, format);
    vsay(&s, format, args);
    va_end(args);
    return code;
}

nb_code nbi_no_memory(nb_tape *t, const char *what)
{
    if (t->heap.capped)
        return nbi_fail(t, NB_ERR_LIMIT, "%s: the tape's memory cap of %zu bytes is reached", what,
                        t->heap.cap);
    return nbi_fail(t, NB_ERR_MEMORY, "%s: the allocator has no memory", what);
}

bool nbi_busy(nb_tape *t, const char *what)
{
    if (t->busy)
        nbi_fail(t, NB_ERR_CALLBACK, "%s: called by a rule of an operation on its own tape", what);
    return t->busy;
}

nb_code nb_refuse(const nb_call *c, nb_code code, const char *reason, const char *detail, ...)
{
    text s;
    if (!c || !begin(c->tape, code, &s))
        return code;
    say(&s, "%s: %s", c->op->name, reason);
    if (c->vars)
        describe_all(&s, c->n_in, c->vars);
    if (detail) {
        va_list args;
        va_start(args, detail);
        say(&s, "\n    ");
        vsay(&s, detail, args);
        va_end(args);
    }
    return code;
}

nb_code nbi_anomaly(nb_tape *t, uint32_t i, const char *what)
{
    text s;
    if (!begin(t, NB_ERR_ANOMALY, &s))
        return NB_ERR_ANOMALY;
    nb_var v = nbi_var(t, i);
    nb_info info = nb_inspect(v);
    say(&s, "%s: %s", info.op, what);
    describe(&s, '=', v);
    size_t n = nbi_operands(t, i);
    for (size_t k = 0; k < n && k < 6; k++) {
        nb_var x = nbi_var(t, nbi_operand(t, i, k));
        describe(&s, (char)('a' + k), x);
        if (!nb_is_tensor(x) && t->hot.ops[x.index] != NBI_CONSTANT)
            say(&s, ", value %.17g", nb_value(x));
    }
    return NB_ERR_ANOMALY;
}

/* The tape's own pool, if some of its threads could not be started and nb_clear was not called since:
 * an error like another, but one that happened between operations. */
static const nb_pool *lame_pool(const nb_tape *t)
{
    return t->own_pool && !t->told && nb_pool_status(t->crew.pool) ? t->crew.pool : NULL;
}

nb_code nb_status(const nb_tape *t)
{
    return !t ? NB_ERR_ARGUMENT : t->code == NB_OK && lame_pool(t) ? NB_ERR_THREAD : t->code;
}

const char *nb_message(const nb_tape *t)
{
    if (!t)
        return "there is no tape";
    return t->code ? t->message : nb_status(t) ? nb_pool_message(t->crew.pool) : "";
}

void nb_clear(nb_tape *t)
{
    if (!t)
        return;
    t->told = t->told || lame_pool(t);
    t->code = NB_OK;
    t->message[0] = 0;
}

/* ---- the operands of a call ------------------------------------------------------------------ */

static nb_tape *not_alive(const char *op, nb_tape *t, size_t k, nb_var v, nb_var *inert)
{
    const char letter = (char)('a' + k % 26);
    *inert = nbi_inert(t);
    if (!v.tape && t)
        nbi_fail(t, NB_ERR_HANDLE, "%s: operand %c is no var (NB_NONE)", op, letter);
    else if (v.tape && v.epoch != NBI_INERT)
        nbi_fail(t, NB_ERR_HANDLE, "%s: operand %c is stale: node %u was forgotten by a rewind", op,
                 letter, v.index);
    return NULL;
}

nb_tape *nbi_home(const char *op, size_t n, const nb_var *x, nb_var *inert)
{
    nb_tape *t = NULL;
    *inert = NB_NONE;
    for (size_t k = 0; k < n && !t; k++)
        t = x[k].tape;
    for (size_t k = 0; k < n; k++) {
        if (!x[k].tape ? nbi_is_inert(x[k]) : x[k].tape == t && !nbi_alive(t, x[k]))
            return not_alive(op, t, k, x[k], inert);
        if (x[k].tape && x[k].tape != t) {
            *inert = nbi_inert(t);
            nbi_fail(t, NB_ERR_HANDLE, "%s: operand %c is of another tape", op,
                     (char)('a' + k % 26));
            return NULL;
        }
    }
    return t;
}

bool nbi_check(const char *what, nb_var x)
{
    nb_var inert;
    return nbi_home(what, 1, &x, &inert) != NULL;
}

bool nb_ok(nb_var x) { return x.tape ? nbi_alive(x.tape, x) : !nbi_is_inert(x); }
