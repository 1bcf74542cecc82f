/*
 * Nodes as lines of C.
 *
 * A number is written out where it is used; every other node is a constant. With vectors, operands that
 * are uniform stay numbers, which GCC's vector extensions spread where the other operand is a vector;
 * where there is no such operand they are spread by name. A mask is a vector of whole numbers, all ones
 * where the condition holds; selecting is the only thing done with it.
 */
#include "program/emit.h"

static bool is_test(uint32_t code) { return code >= NBI_ROW_lt && code <= NBI_ROW_ne; }

static bool is_vector(const nbi_printer *w, uint32_t i) { return w->varies && w->varies[i]; }

void nbi_emit_spread_need(const nbi_dag *d, uint8_t *need)
{
    for (size_t i = d->count; i-- > 0;) {
        const nbi_dag_node *n = &d->node[i];
        if (!need[i])
            continue;
        for (int k = 0; k < nbi_dag_arity(n->code); k++) {
            const bool selects =
                n->code == NBI_ROW_where && k == 0 && is_test(d->node[n->in[0]].code);
            need[n->in[k]] |= selects ? NBI_AS_MASK : NBI_AS_VALUE;
        }
    }
}

void nbi_emit_value(const nbi_printer *w, uint32_t i)
{
    if (nbi_dag_is_constant(w->d, i))
        nbi_emit_number(w->to, w->dtype, nbi_dag_value(w->d, i));
    else
        fprintf(w->to, "v%u", i);
}

void nbi_emit_vector(const nbi_printer *w, uint32_t i)
{
    const bool spread = !is_vector(w, i);
    if (spread)
        fprintf(w->to, "%s_spread(", w->name);
    nbi_emit_value(w, i);
    if (spread)
        fputc(')', w->to);
}

/* The value of operand k; a vector if that is what the node is. */
static void operand(const nbi_printer *w, uint32_t i, int k)
{
    const uint32_t x = w->d->node[i].in[k];
    if (is_vector(w, i))
        nbi_emit_vector(w, x);
    else
        nbi_emit_value(w, x);
}

static void begin(const nbi_printer *w, uint32_t i, bool mask)
{
    const char *type = mask ? "int" : nbi_emit_real(w->dtype);
    fprintf(w->to, "%sconst ", w->indent);
    if (is_vector(w, i))
        fprintf(w->to, "%s_%s", w->name, mask ? "mask" : "vec");
    else
        fputs(type, w->to);
    fprintf(w->to, " %c%u = ", mask ? 'm' : 'v', i);
}

/* a op b, one of them a vector if the node is */
static void infix(const nbi_printer *w, uint32_t i)
{
    const nbi_dag_node *n = &w->d->node[i];
    nbi_emit_value(w, n->in[0]);
    fprintf(w->to, " %s ", nbi_emit_operator(n->code));
    nbi_emit_value(w, n->in[1]);
}

static void call(const nbi_printer *w, uint32_t i)
{
    const nbi_dag_node *n = &w->d->node[i];
    bool wide = false;
    if (is_vector(w, i))
        fprintf(w->to, "%s_lanes_%s", w->name, nbi_dag_name(n->code));
    else
        wide = nbi_emit_call(w, n->code);
    for (int k = 0; k < nbi_dag_arity(n->code); k++) {
        fprintf(w->to, "%s%s", k ? ", " : "(", wide ? "(double)" : "");
        operand(w, i, k);
    }
    fputc(')', w->to);
}

/* The condition of a selection: a mask's name, or that a value is not 0. */
static void condition(const nbi_printer *w, uint32_t c)
{
    if (is_test(w->d->node[c].code)) {
        fprintf(w->to, "m%u", c);
        return;
    }
    nbi_emit_value(w, c);
    fputs(" != ", w->to);
    nbi_emit_number(w->to, w->dtype, 0);
}

static void select(const nbi_printer *w, uint32_t i)
{
    const nbi_dag_node *n = &w->d->node[i];
    const bool blend = is_vector(w, n->in[0]);
    if (blend)
        fprintf(w->to, "%s_select(", w->name);
    condition(w, n->in[0]);
    fputs(blend ? ", " : " ? ", w->to);
    operand(w, i, 1);
    fputs(blend ? ", " : " : ", w->to);
    operand(w, i, 2);
    if (blend)
        fputc(')', w->to);
}

/* a b, but 0 where a is */
static void chain(const nbi_printer *w, uint32_t i)
{
    const nbi_dag_node *n = &w->d->node[i];
    const bool blend = is_vector(w, n->in[0]);
    if (blend)
        fprintf(w->to, "%s_keep(", w->name);
    nbi_emit_value(w, n->in[0]);
    fputs(" != ", w->to);
    nbi_emit_number(w->to, w->dtype, 0);
    fputs(blend ? ", " : " ? ", w->to);
    nbi_emit_value(w, n->in[0]);
    fputs(" * ", w->to);
    nbi_emit_value(w, n->in[1]);
    if (blend) {
        fputc(')', w->to);
        return;
    }
    fputs(" : ", w->to);
    if (is_vector(w, i))
        fprintf(w->to, "%s_spread(", w->name);
    nbi_emit_number(w->to, w->dtype, 0);
    if (is_vector(w, i))
        fputc(')', w->to);
}

/* A comparison as a condition, and as 1 or 0. */
static void test(const nbi_printer *w, uint32_t i)
{
    const bool vector = is_vector(w, i);
    if (w->need[i] & NBI_AS_MASK) {
        begin(w, i, true);
        infix(w, i);
        fputs(";\n", w->to);
    }
    if (!(w->need[i] & NBI_AS_VALUE))
        return;
    begin(w, i, false);
    if (vector)
        fprintf(w->to, "%s_keep(", w->name);
    infix(w, i);
    fputs(vector ? ", " : " ? ", w->to);
    if (vector)
        fprintf(w->to, "%s_spread(", w->name);
    nbi_emit_number(w->to, w->dtype, 1);
    if (!vector) {
        fputs(" : ", w->to);
        nbi_emit_number(w->to, w->dtype, 0);
    }
    fputs(vector ? "));\n" : ";\n", w->to);
}

/* Sine and cosine of the same lanes, together: the first of the two, in order, prints both. */
static void waves(const nbi_printer *w, uint32_t i)
{
    const uint32_t other = w->partner[i] - 1;
    const bool sine = w->d->node[i].code == NBI_ROW_sin;
    if (other < i)
        return;
    fprintf(w->to, "%s%s_vec v%u, v%u;\n", w->indent, w->name, i, other);
    fprintf(w->to, "%s%s_lanes_waves(v%u, &v%u, &v%u);\n", w->indent, w->name, w->d->node[i].in[0],
            sine ? i : other, sine ? other : i);
}

void nbi_emit_node(const nbi_printer *w, uint32_t i)
{
    const nbi_dag_node *n = &w->d->node[i];
    if (!w->need[i] || n->code >= NBI_ROWS)
        return;
    if (is_test(n->code)) {
        test(w, i);
        return;
    }
    if (w->partner && w->partner[i]) {
        waves(w, i);
        return;
    }
    begin(w, i, false);
    if (n->code == NBI_ROW_where)
        select(w, i);
    else if (n->code == NBI_ROW_chain)
        chain(w, i);
    else if (n->code == NBI_ROW_neg) {
        fputc('-', w->to);
        nbi_emit_value(w, n->in[0]);
    } else if (n->code == NBI_ROW_recip) {
        nbi_emit_number(w->to, w->dtype, 1);
        fputs(" / ", w->to);
        nbi_emit_value(w, n->in[0]);
    } else if (nbi_emit_operator(n->code))
        infix(w, i);
    else
        call(w, i);
    fputs(";\n", w->to);
}
