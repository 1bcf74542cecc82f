/*
 * The report as JSON: the fields of nb_check_report under their own names. What is NaN or infinite,
 * which JSON cannot say, is null.
 */
#include <nabla/verify.h>

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

/* Counts on when there is no more room. */
typedef struct sink {
    char *to;
    size_t room, used;
} sink;

static void put(sink *s, const char *format, ...) NBI_FORMAT(2, 3);
static void put(sink *s, const char *format, ...)
{
    va_list args;
    const size_t left = s->used < s->room ? s->room - s->used : 0;
    va_start(args, format);
    const int n = vsnprintf(left ? s->to + s->used : NULL, left, format, args);
    va_end(args);
    s->used += n > 0 ? (size_t)n : 0;
}

static void key(sink *s, const char *name) { put(s, "\"%s\": ", name); }

static void string(sink *s, const char *name, const char *value)
{
    key(s, name);
    put(s, "\"");
    for (; *value; value++) {
        const unsigned char ch = (unsigned char)*value;
        if (ch == '"' || ch == '\\')
            put(s, "\\%c", ch);
        else if (ch < 0x20)
            put(s, "\\u%04x", ch);
        else
            put(s, "%c", ch);
    }
    put(s, "\", ");
}

static void number(sink *s, const char *name, double value)
{
    key(s, name);
    if (isfinite(value))
        put(s, "%.17g, ", value);
    else
        put(s, "null, ");
}

static void whole(sink *s, const char *name, unsigned long long value)
{
    key(s, name);
    put(s, "%llu, ", value);
}

static void flag(sink *s, const char *name, bool value)
{
    key(s, name);
    put(s, "%s, ", value ? "true" : "false");
}

static void place(sink *s, const nb_check_place *p)
{
    key(s, "at");
    if (!p->found) {
        put(s, "null");
        return;
    }
    put(s, "{");
    whole(s, "node", p->node);
    string(s, "op", p->op);
    string(s, "label", p->label);
    put(s, "\"operand\": %d}", p->operand);
}

static void coordinate(sink *s, const nb_check_coordinate *a, const char *name)
{
    put(s, "{");
    string(s, "name", name);
    string(s, "verdict", nb_verdict_name(a->verdict));
    whole(s, "index", a->index);
    whole(s, "input", a->input);
    whole(s, "element", a->element);
    number(s, "analytic", a->analytic);
    number(s, "numeric", a->numeric);
    number(s, "estimate", a->estimate);
    number(s, "error", a->error);
    number(s, "step", a->step);
    if (a->verdict == NB_VERDICT_KINK) {
        number(s, "left", a->left);
        number(s, "right", a->right);
        flag(s, "between", a->between);
    }
    whole(s, "evaluations", (unsigned long long)a->evaluations);
    place(s, &a->at);
    put(s, "}");
}

static void direction(sink *s, const nb_check_direction *d)
{
    put(s, "{");
    number(s, "analytic", d->analytic);
    number(s, "numeric", d->numeric);
    number(s, "estimate", d->estimate);
    number(s, "rate_two", d->rate_two);
    number(s, "rate_three", d->rate_three);
    number(s, "forward", d->forward);
    put(s, "\"verdict\": \"%s\"}", nb_verdict_name(d->verdict));
}

static void summary(sink *s, const nb_check_report *r)
{
    string(s, "verdict", nb_verdict_name(r->verdict));
    string(s, "diagnosis", nb_diagnosis_name(r->diagnosis));
    number(s, "factor", r->factor);
    place(s, &r->at);
    put(s, ", ");
    string(s, "code", nb_code_name(r->code));
    string(s, "message", r->message);
    flag(s, "stopped", r->stopped);
    flag(s, "gradient_impure", r->gradient_impure);
    flag(s, "in_float", r->in_float);
    flag(s, "float_compared", r->float_compared);
    whole(s, "n", r->n);
    whole(s, "tested", r->tested);
    whole(s, "evaluations", r->evaluations);
    whole(s, "gradients", r->gradients);
    whole(s, "screening", r->screening);
    number(s, "seconds", r->seconds);
    whole(s, "seed", r->seed);
}

size_t nb_check_json(const nb_check_report *r, char *to, size_t room)
{
    sink s = {to, to ? room : 0, 0};
    if (!r) {
        put(&s, "null");
        return s.used;
    }
    put(&s, "{");
    summary(&s, r);
    put(&s, "\"count\": {");
    for (int v = 0; v < NB_VERDICT_COUNT; v++)
        put(&s, "%s\"%s\": %zu", v ? ", " : "", nb_verdict_name((nb_verdict)v), r->count[v]);
    put(&s, "}, \"directions\": [");
    for (size_t k = 0; k < r->n_directions; k++) {
        put(&s, "%s", k ? ", " : "");
        direction(&s, &r->direction[k]);
    }
    put(&s, "], \"worst\": [");
    for (size_t k = 0; k < r->n_worst; k++) {
        put(&s, "%s", k ? ", " : "");
        coordinate(&s, &r->worst[k], r->names[k]);
    }
    put(&s, "]}");
    return s.used;
}
