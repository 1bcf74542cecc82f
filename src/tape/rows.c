/*
 * Recording a scalar node of the table, when it is not the common case.
 *
 * The common case is inlined (nabla/inline.h): all operands are variable scalars of one tape, and no
 * mode wants to look. Here some operand is a constant, or recording is paused, or the row has three
 * operands and they go to the list.
 */
#include "tape/tape.h"

#include <math.h>

/* Three operands, and those of a still node of two, stand in the list. */
static bool list_operands(nb_tape *t, int n, const uint32_t *at, uint32_t *place)
{
    uint32_t *to = nbi_list_room(t, (size_t)n);
    if (!to)
        return false;
    memcpy(to, at, (size_t)n * sizeof *at);
    *place = (uint32_t)t->list_length;
    t->list_length += (size_t)n;
    return true;
}

static nb_var push_row(nb_tape *t, enum nbi_row row, const uint32_t *at, double value)
{
    const int n = nbi_rows[row].arity;
    bool varies[3] = {false}, still = nbi_rows[row].opcode == 0 || !t->recording;
    int varying = 0;
    for (int k = 0; k < n; k++)
        varying += varies[k] = !nbi_still(t, at[k]);
    still = still || !varying;
    uint32_t a = at[0], b = n > 1 ? at[1] : 0;
    if ((n == 3 || (n == 2 && still)) && !list_operands(t, n, at, &a))
        return nbi_inert(t);
    uint8_t op = nbi_rows[row].opcode;
    if (n == 2 && varying == 1)
        op = (uint8_t)(op + (varies[0] ? 1 : 2));
    nb_var v = nbi_push(t, still ? NBI_STILL : op, a, still ? (uint32_t)row : b, value);
    v.epoch |= still ? NBI_QUIET : 0;
    return v;
}

nb_var nbi_record_row(nb_tape *t, enum nbi_row row, const nb_var *x, double value)
{
    uint32_t at[3] = {0};
    nb_mark before = nb_tape_mark(t);
    nb_var v = nbi_inert(t);
    bool done = true;
    for (int k = 0; k < nbi_rows[row].arity && done; k++) {
        at[k] = x[k].index;
        done = x[k].tape || nbi_constant_at(t, nbi_number(x[k]), &at[k]);
    }
    if (done && nbi_room(t))
        v = push_row(t, row, at, value);
    if (v.epoch == NBI_INERT)
        nbi_truncate(t, &before);
    else if (t->anomaly && !isfinite(value))
        nbi_anomaly(t, v.index, "the value is not finite");
    return v;
}

nb_var nb_located(nb_var x, const char *file, int line)
{
    if (x.tape) {
        x.tape->file = file;
        x.tape->line = line;
    }
    return x;
}
