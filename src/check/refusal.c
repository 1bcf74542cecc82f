/*
 * Bad input: a clear no, and nothing harmed.
 *
 * An example is built, then attempted again behind it on the same tape with one operand replaced:
 * by a stale var, by one of another tape, by a tensor whose shape hardly fits beside the others.
 * What is refused must give an inert var, a status that suits and a message; afterwards the error
 * can be cleared, and the first example's values and gradients are what they were.
 *
 * Handles must always be refused. Which shapes an op accepts is its own affair, so of shapes the
 * law asks no more than that an op which takes several tensors refuses some. Its first operand,
 * which is the one that a missing check makes dangerous, is replaced only after another was
 * refused.
 */
#include "check/laws.h"

#include <string.h>

typedef enum answer { ACCEPTED, REFUSED, HARMED } answer;

/* The figures of the example that stands at the bottom of the tape. */
typedef struct before {
    nb_var y, in[NBI_SAMPLES];
    double *value, *grad;
} before;

static bool suits(nb_code code, nbi_twist twist)
{
    if (twist == NBI_FOREIGN || twist == NBI_STALE)
        return code == NB_ERR_HANDLE;
    return code == NB_ERR_SHAPE || code == NB_ERR_AXIS || code == NB_ERR_INDEX ||
           code == NB_ERR_ARGUMENT || code == NB_ERR_EMPTY || code == NB_ERR_OVERFLOW ||
           code == NB_ERR_DOMAIN;
}

static bool figures(nbi_trial *c, double *value, double *grad)
{
    bool derive = nbi_derivable(c) && (c->op->reverse || c->op->reverse_arrays);
    for (size_t i = 0; i < c->n; i++)
        grad[i] = 0;
    return nbi_value(c, value) && (!derive || nbi_gradient(c, false, grad));
}

/* What became of the first example. */
static bool unharmed(nbi_trial *c, const before *b)
{
    double *value = nbi_vector(c, c->m), *grad = nbi_vector(c, c->n);
    c->y = b->y;
    memcpy(c->s.in, b->in, sizeof b->in);
    return value && grad && figures(c, value, grad) &&
           !memcmp(value, b->value, c->m * sizeof *value) &&
           !memcmp(grad, b->grad, c->n * sizeof *grad);
}

static const char *twist_text(nbi_twist twist)
{
    switch (twist) {
    case NBI_STALE: return "a stale var";
    case NBI_FOREIGN: return "a var of another tape";
    default: return "a tensor of an unfit shape";
    }
}

/* What is wrong with the way in which an attempt ended, or NULL. */
static const char *fault(const nbi_trial *c, nbi_built built, nb_code code, bool told)
{
    if (built == NBI_BUILT)
        return NULL;
    if (code == NB_OK) /* an op of one operand works on the tape that this is of */
        return c->y.tape == c->elsewhere && nb_ok(c->y) ? NULL : "gives no result and no error";
    if (!suits(code, c->twist))
        return "is refused with another status than that";
    if (!told)
        return "is refused without a message";
    return nb_ok(c->y) ? "is refused, but the result is not inert" : NULL;
}

/* Attempts the example with input j replaced. */
static answer attempt(nbi_trial *c, const before *b, nbi_twist twist, size_t j)
{
    nb_tape *t = c->tape[NB_F64];
    nbi_trial first = *c; /* sizes and places */
    nb_reset(c->elsewhere);
    c->twist = twist;
    c->victim = j;
    nbi_built built = nbi_attempt(c, t, 0, NULL);
    nb_code code = nb_status(t) ? nb_status(t) : nb_status(c->elsewhere);
    const char *wrong = fault(c, built, code, nb_message(t)[0] || nb_message(c->elsewhere)[0]);
    nb_clear(t);
    first.work = c->work;
    first.heap = c->heap;
    *c = first;
    if (!wrong && !unharmed(c, b))
        wrong = "changes what was recorded before";
    if (!wrong)
        return built == NBI_BUILT ? ACCEPTED : REFUSED;
    nbi_violate(c, NB_LAW_REFUSAL, "operand %zu: %s %s (%s)", j, twist_text(twist), wrong,
                nb_code_name(code));
    return HARMED;
}

static bool bad_handles(nbi_trial *c, const before *b)
{
    for (size_t j = 0; j < c->s.n; j++)
        for (int i = 0; i < 2 && c->used[j]; i++) {
            nbi_twist twist = i ? NBI_FOREIGN : NBI_STALE;
            answer a = attempt(c, b, twist, j);
            if (a == ACCEPTED)
                nbi_violate(c, NB_LAW_REFUSAL, "operand %zu: %s is accepted", j, twist_text(twist));
            if (a != REFUSED)
                return false;
            nbi_pass(c, NB_LAW_REFUSAL, 0);
        }
    return true;
}

static bool takes_shape(const nbi_trial *c, size_t j)
{
    return c->used[j] && nb_is_tensor(c->s.in[j]);
}

static void bad_shapes(nbi_trial *c, const before *b)
{
    size_t tensors = 0;
    for (size_t j = 0; j < c->s.n; j++)
        tensors += takes_shape(c, j);
    for (size_t j = c->s.n; tensors > 1 && j-- > 0;)
        for (int i = 0; i < 2 && takes_shape(c, j) && (j || c->refused); i++) {
            answer a = attempt(c, b, i ? NBI_DEEP : NBI_LARGE, j);
            if (a == HARMED)
                return;
            c->accepted += a == ACCEPTED;
            c->refused += a == REFUSED;
            if (a == REFUSED)
                nbi_pass(c, NB_LAW_REFUSAL, 0);
        }
}

void nbi_law_refusal(nbi_trial *c)
{
    before b;
    if (!nbi_build(c, c->tape[NB_F64], 0, NULL) || !(c->u = nbi_random_seed(c)))
        return;
    b.y = c->y;
    memcpy(b.in, c->s.in, sizeof b.in);
    b.value = nbi_vector(c, c->m);
    b.grad = nbi_vector(c, c->n);
    if (!b.value || !b.grad)
        return;
    if (!figures(c, b.value, b.grad)) {
        nbi_violate_message(c, NB_LAW_REFUSAL, c->tape[NB_F64]);
        return;
    }
    if (bad_handles(c, &b))
        bad_shapes(c, &b);
}
