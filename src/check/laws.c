/*
 * The laws that every operation obeys, and the verdict on one.
 *
 *     1  forward mode agrees with central differences within their own error estimate
 *     2  <u, J v> = <J^T u, v>
 *     3  the gradient of the gradient agrees with differences of the gradient
 *     4  the sweep accumulates, and a second sweep changes nothing
 *     5  float agrees with double, and one instruction set with another
 *     6  bad input is refused with a message, and the tape stays usable
 *
 * The laws chain: forward mode is held to differences, which know nothing of derivatives; the
 * backward sweep to forward mode; the gradient as a graph to the backward sweep, and its gradient
 * to differences again. So each rule of an op, over arrays, as graph code and for tangents, is held
 * to something that was computed another way. What is wrong breaks the first law in this order that
 * can see it.
 */
#include "check/laws.h"

#include "tape/tape.h"
#include <float.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>

enum { EXAMPLES = 1000 }; /* a list that is longer has no end */

/* ---- names ----------------------------------------------------------------------------------- */

static const struct {
    const char *name, *text;
} laws[] = {
#define LAW(law, name, text) {name, text},
    NB_LAWS(LAW)
#undef LAW
};

const char *nb_law_name(nb_law law)
{
    return (unsigned)law < NB_LAW_COUNT ? laws[law].name : "unknown";
}

const char *nb_law_text(nb_law law)
{
    return (unsigned)law < NB_LAW_COUNT ? laws[law].text : "no such law";
}

/* ---- verdicts -------------------------------------------------------------------------------- */

void nbi_pass(nbi_trial *c, nb_law law, double worst)
{
    nb_law_count *n = &c->report->law[law];
    n->tried++;
    n->passed++;
    n->worst = fmax(n->worst, worst);
}

void nbi_untested(nbi_trial *c, nb_law law) { c->report->law[law].untested++; }

void nbi_violate(nbi_trial *c, nb_law law, const char *format, ...)
{
    nb_law_report *r = c->report;
    va_list args;
    r->law[law].tried++;
    if (r->broken != NB_LAW_COUNT || c->code == NB_ERR_MEMORY)
        return;
    r->broken = law;
    c->code = NB_ERR_LAW;
    int n = snprintf(r->text, sizeof r->text, "%s: law of %s: example %d: ", c->op->name,
                     laws[law].name, c->k);
    va_start(args, format);
    if (n > 0 && (size_t)n < sizeof r->text)
        vsnprintf(r->text + n, sizeof r->text - (size_t)n, format, args);
    va_end(args);
}

void nbi_violate_message(nbi_trial *c, nb_law law, const nb_tape *t)
{
    if (nb_status(t) == NB_ERR_MEMORY)
        c->code = NB_ERR_MEMORY;
    nbi_violate(c, law, "%s", nb_status(t) ? nb_message(t) : "a sweep failed without a message");
}

nbi_place nbi_place_of(const nbi_trial *c, size_t i)
{
    nbi_place p;
    size_t j = 0;
    while (j < c->s.n && i >= c->at[j + 1])
        j++;
    if (i < c->n)
        snprintf(p.text, sizeof p.text, "operand %zu, element %zu", j, i - c->at[j]);
    else
        snprintf(p.text, sizeof p.text, "element %zu of the result", i - c->n);
    return p;
}

double nbi_slack(const nb_tape *t)
{
    return nb_tape_dtype(t) == NB_F64 ? 512 * DBL_EPSILON : 512 * (double)FLT_EPSILON;
}

double nbi_part(double a, double b, double allowed)
{
    if (a == b || (isnan(a) && isnan(b)))
        return 0;
    double part = fabs(a - b) / allowed;
    return isnan(part) ? (double)INFINITY : part;
}

bool nbi_agree(nbi_trial *c, nb_law law, const nbi_pair *p)
{
    const size_t n = p->of_result ? c->m : c->n;
    double worst = 0;
    for (size_t i = 0; i < n; i++) {
        double most = p->each ? p->each[i] : p->all, part = nbi_part(p->a[i], p->b[i], most);
        worst = fmax(worst, part);
        if (part <= 1)
            continue;
        nbi_place place = nbi_place_of(c, p->of_result ? c->n + i : i);
        nbi_violate(c, law, "%s: %s is %.17g, %s %.17g; they may differ by %.1e", place.text,
                    p->a_is, p->a[i], p->b_is, p->b[i], most);
        return false;
    }
    if (n)
        nbi_pass(c, law, worst);
    return true;
}

/* ---- the check ------------------------------------------------------------------------------- */

static void start(nbi_trial *c, const nb_op *op, nb_law_report *report)
{
    *report = (nb_law_report){.broken = NB_LAW_COUNT};
    *c = (nbi_trial){.op = op, .report = report};
    nbi_heap_init(&c->heap, NULL, 0);
    nbi_arena_init(&c->work, &c->heap, 1 << 16);
}

/* Whether the op itself stands on the tape, under whatever it was called through. */
static bool records_op(const nbi_trial *c)
{
    nb_tape *t = c->y.tape;
    for (size_t i = 0; i < nb_count(t); i++)
        if (!strcmp(nb_inspect(nb_node(t, i)).op, c->op->name))
            return true;
    return false;
}

/* Builds example c->k. False past the last and after an example that fails. */
static bool next_example(nbi_trial *c, nb_tape *t)
{
    nb_reset(t);
    c->draw = 0;
    c->twist = NBI_PLAIN;
    if (nbi_attempt(c, t, 0, NULL) == NBI_END || !nbi_build(c, t, 0, NULL))
        return false;
    if (c->k == EXAMPLES)
        nbi_violate(c, NB_LAW_EXAMPLES, "the list of examples has no end");
    else if (!records_op(c))
        nbi_violate(c, NB_LAW_EXAMPLES, "it does not record the op");
    else
        nbi_pass(c, NB_LAW_EXAMPLES, 0);
    return c->code == NB_OK;
}

static void hold_example(nbi_trial *c)
{
    if (!c->hook)
        nbi_law_differences(c);
    for (int i = 0; i < 2 && c->code == NB_OK; i++)
        nbi_law_transpose(c, c->tape[i]);
    for (int i = 0; i < 2 && c->code == NB_OK; i++)
        nbi_law_graph(c, c->tape[i]);
    if (c->code == NB_OK)
        nbi_law_second_order(c);
    for (int i = 0; i < 2 && c->code == NB_OK; i++)
        nbi_law_accumulation(c, c->tape[i]);
    if (c->code == NB_OK)
        nbi_law_precision(c, c->tape[NB_F64], c->tape[NB_F32], (double)FLT_EPSILON);
    if (c->code == NB_OK)
        nbi_law_refusal(c);
}

/* What no single example can say. */
static void conclude(nbi_trial *c)
{
    if (!c->report->law[NB_LAW_EXAMPLES].tried && c->code == NB_OK)
        c->code = NB_ERR_ARGUMENT;
    for (int law = 0; law < NB_LAW_COUNT && c->code == NB_OK; law++) {
        nb_law_count *n = &c->report->law[law];
        if (n->untested && !n->tried)
            nbi_violate(c, (nb_law)law, "no example of %zu could be tested", n->untested);
    }
    if (c->code == NB_OK && c->accepted && !c->refused)
        nbi_violate(c, NB_LAW_REFUSAL, "no tensor of whatever shape was refused beside the others");
}

static nb_code check(const nb_op *op, nb_law_report *report, bool hook)
{
    nbi_trial c;
    nb_law_report own;
    start(&c, op, report ? report : &own);
    c.hook = hook;
    if (!op || !op->sample || !op->name)
        return NB_ERR_ARGUMENT;
    c.tape[NB_F64] = nb_tape_new(NULL);
    c.tape[NB_F32] = nb_tape_new(&(nb_options){.dtype = NB_F32});
    c.elsewhere = nb_tape_new(NULL);
    if (!c.tape[NB_F64] || !c.tape[NB_F32] || !c.elsewhere)
        c.code = NB_ERR_MEMORY;
    for (; c.code == NB_OK && next_example(&c, c.tape[NB_F64]); c.k++) {
        nbi_spot spot = c.work.at;
        hold_example(&c);
        nbi_give_back(&c.work, spot);
    }
    conclude(&c);
    nb_tape_free(c.tape[NB_F64]);
    nb_tape_free(c.tape[NB_F32]);
    nb_tape_free(c.elsewhere);
    nbi_arena_free(&c.work);
    return c.code;
}

nb_code nb_check_op(const nb_op *op, nb_law_report *report) { return check(op, report, false); }

nb_code nbi_check_hook(const nb_op *op, nb_law_report *report) { return check(op, report, true); }

nb_code nbi_check_precision(const nb_op *op, nb_tape *reference, nb_tape *other, double unit,
                            nb_law_report *report)
{
    nbi_trial c;
    start(&c, op, report);
    for (; c.code == NB_OK && next_example(&c, reference); c.k++) {
        nbi_spot spot = c.work.at;
        nbi_law_precision(&c, reference, other, unit);
        nbi_give_back(&c.work, spot);
    }
    conclude(&c);
    nbi_arena_free(&c.work);
    return c.code;
}
