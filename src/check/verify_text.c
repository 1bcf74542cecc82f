/*
 * The report, to be read: the verdict first, then why, then a table of the worst, then what it took.
 *
 * Nothing in it depends on the time a check took, so that a report can be compared with an earlier
 * one; the line that begins with "reproduce" are the options that look at the worst coordinate again.
 */
#include "check/verify.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

typedef struct text {
    char *to;
    size_t room, used;
} text;

static void say(text *s, const char *format, ...) NBI_FORMAT(2, 3);
static void say(text *s, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    const int n = vsnprintf(s->to + s->used, s->room - s->used, format, args);
    va_end(args);
    s->used += n > 0 ? (size_t)n : 0;
    if (s->used >= s->room)
        s->used = s->room - 1;
}

void nbi_coordinate_name(const nbi_verify *c, size_t i, char *to, size_t room)
{
    text s = {to, room, 0};
    const nbi_block *b = c->n_block && !c->product ? nbi_block_of(c, i) : NULL;
    if (!b) {
        say(&s, "result[%zu]", i);
        return;
    }
    if (b->name)
        say(&s, "%.20s", b->name);
    else
        say(&s, "input %zu", b->number);
    if (b->shape.rank < 1)
        return;
    size_t left = i - b->at;
    int64_t at[NB_MAX_RANK];
    for (int d = b->shape.rank - 1; d >= 0; d--) {
        at[d] = (int64_t)(left % (size_t)b->shape.dims[d]);
        left /= (size_t)b->shape.dims[d];
    }
    for (int d = 0; d < b->shape.rank; d++)
        say(&s, "%c%lld", d ? ' ' : '[', (long long)at[d]);
    say(&s, "]");
}

static void say_place(text *s, const nb_check_place *p)
{
    say(s, "node %zu, %s", p->node, p->op);
    if (p->label[0])
        say(s, " \"%s\"", p->label);
    if (p->operand >= 0)
        say(s, ", operand %c", (char)('a' + p->operand % 26));
}

/* NaN without its sign, which some would print. */
static double plain(double v) { return isnan(v) ? fabs(v) : v; }

static void head(text *s, const nb_check_report *r)
{
    say(s, "%s: %s", nb_verdict_name(r->verdict), nb_verdict_text(r->verdict));
    if (r->verdict == NB_VERDICT_IMPURE)
        say(s, " (the %s)", r->gradient_impure ? "gradient" : "value");
    const size_t decided = r->count[NB_VERDICT_RIGHT] + r->count[NB_VERDICT_NO_PATH];
    if (r->verdict == NB_VERDICT_RIGHT && decided < r->tested)
        say(s, ", where they can tell: not at %zu of %zu", r->tested - decided, r->tested);
    say(s, "\n");
    if (r->diagnosis != NB_DIAGNOSIS_NONE)
        say(s, "    diagnosis  %s", nb_diagnosis_name(r->diagnosis));
    if (r->diagnosis != NB_DIAGNOSIS_NONE && isfinite(r->factor))
        say(s, " (analytic / numeric = %.6g)", r->factor);
    if (r->diagnosis != NB_DIAGNOSIS_NONE)
        say(s, "\n");
    if (r->at.found) {
        say(s, "    first at   ");
        say_place(s, &r->at);
        say(s, "\n");
    }
    if (r->message[0])
        say(s, "    %s %s\n", r->code ? nb_code_name(r->code) : "note      ", r->message);
    if (r->in_float)
        say(s, "    precision  differences of a float computation, with steps to suit\n");
    if (r->float_compared)
        say(s, "    precision  replayed in double; the float gradient compared with that\n");
    if (r->stopped)
        say(s, "    stopped    by a budget or by the caller, before all was tested\n");
}

static void counts(text *s, const nb_check_report *r)
{
    bool any = false;
    say(s, "    tested     %zu of %zu coordinates", r->tested, r->n);
    for (int v = NB_VERDICT_RIGHT; v < NB_VERDICT_COUNT; v++)
        if (r->count[v]) {
            say(s, "%s %zu %s", any ? "," : ":", r->count[v], nb_verdict_name((nb_verdict)v));
            any = true;
        }
    say(s, "\n");
}

static void directions(text *s, const nb_check_report *r)
{
    for (size_t k = 0; k < r->n_directions; k++) {
        const nb_check_direction *d = &r->direction[k];
        say(s, "    direction  %zu: %s, %.8g by the gradient, %.8g +- %.1e by differences", k,
            nb_verdict_name(d->verdict), plain(d->analytic), plain(d->numeric), plain(d->estimate));
        if (isfinite(d->forward))
            say(s, ", %.8g forward", d->forward);
        if (isfinite(d->rate_two))
            say(s, "; rate %.2f", d->rate_two);
        if (isfinite(d->rate_three))
            say(s, ", %.2f", d->rate_three);
        say(s, "\n");
    }
}

static void aside(text *s, const nb_check_coordinate *a)
{
    if (a->verdict == NB_VERDICT_KINK)
        say(s, "  %-14s slopes %.6g and %.6g, the gradient %s\n", "", a->left, a->right,
            a->between ? "between them" : "not between them");
    if (a->at.found) {
        say(s, "  %-14s at ", "");
        say_place(s, &a->at);
        say(s, "\n");
    }
}

static void table(text *s, const nb_check_report *r)
{
    if (!r->n_worst)
        return;
    say(s, "  %-14s %-18s %15s %15s %9s %9s %9s\n", "the worst", "verdict", "analytic", "numeric",
        "+-", "error", "step");
    for (size_t k = 0; k < r->n_worst; k++) {
        const nb_check_coordinate *a = &r->worst[k];
        say(s, "  %-14s %-18s %15.8g %15.8g %9.1e %9.1e %9.1e\n", r->names[k],
            nb_verdict_name(a->verdict), plain(a->analytic), plain(a->numeric), plain(a->estimate),
            plain(a->error), a->step);
        aside(s, a);
    }
}

void nbi_check_write(nbi_verify *c)
{
    nb_check_report *r = c->r;
    text s = {r->text, sizeof r->text, 0};
    for (size_t k = 0; k < r->n_worst; k++)
        nbi_coordinate_name(c, r->worst[k].index, r->names[k], sizeof r->names[k]);
    head(&s, r);
    counts(&s, r);
    directions(&s, r);
    table(&s, r);
    say(&s, "    took       %zu evaluations (%zu to screen), %zu gradients\n", r->evaluations,
        r->screening, r->gradients);
    say(&s, "    reproduce  (nb_check_options){.seed = %llu", (unsigned long long)r->seed);
    if (r->n_worst && r->tested < r->n)
        say(&s, ", .first = %zu, .count = 1", r->worst[0].index);
    say(&s, "}\n");
}
