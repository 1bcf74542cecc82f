/*
 * Reading formulas: see formula.h.
 *
 *     formula = group {"," group} ["->" group]        group = {letter | blank} with at most one "..."
 *
 * One pass over the text splits it into groups, which know letters and places but not yet how many
 * axes their "..." stands for. That is what an operand has more than its group has letters. Then
 * each group becomes a term, a label per axis, and sizes are compared letter by letter.
 */
#include "ops/formula.h"

#include <nabla/ops.h>
#include <string.h>

/* A group of the text. place[i] is where letter i stands; dots is how many letters precede "...", or
 * -1 without. */
typedef struct group {
    int letters, dots, start, dots_at;
    uint8_t letter[NB_MAX_RANK];
    int place[NB_MAX_RANK];
} group;

typedef struct reader {
    const nb_call *c;
    const char *text;
    int at;
    int most; /* axes that any "..." stands for */
    int64_t size[NBI_LABELS];
} reader;

/* Refuses, with the text and a mark below the place. */
static bool fault(const reader *r, nb_code code, int place, const char *reason)
{
    enum { SHOWN = 160 };
    if (place < SHOWN)
        nb_refuse(r->c, code, reason, "%.*s\n    %*s^", SHOWN, r->text, place, "");
    else
        nb_refuse(r->c, code, reason, "at character %d of %.*s…", place + 1, SHOWN, r->text);
    return false;
}

static int letter_of(char c)
{
    return c >= 'A' && c <= 'Z' ? c - 'A' : c >= 'a' && c <= 'z' ? c - 'a' + 26 : -1;
}

/* ---- groups ---------------------------------------------------------------------------------- */

static bool read_dots(reader *r, group *g)
{
    if (strncmp(r->text + r->at, "...", 3) != 0)
        return fault(r, NB_ERR_ARGUMENT, r->at, "a dot stands alone; \"...\" has three");
    if (g->dots >= 0)
        return fault(r, NB_ERR_ARGUMENT, r->at, "a group has \"...\" twice");
    g->dots = g->letters;
    g->dots_at = r->at;
    r->at += 3;
    return true;
}

/* Up to a comma, an arrow or the end. */
static bool read_group(reader *r, group *g)
{
    *g = (group){.dots = -1};
    while (r->text[r->at] == ' ')
        r->at++;
    g->start = r->at;
    for (;;) {
        const char c = r->text[r->at];
        const int letter = letter_of(c);
        if (c == 0 || c == ',' || (c == '-' && r->text[r->at + 1] == '>'))
            return true;
        if (c == '.') {
            if (!read_dots(r, g))
                return false;
        } else if (letter >= 0) {
            if (g->letters == NB_MAX_RANK)
                return fault(r, NB_ERR_ARGUMENT, r->at, "a group has more letters than axes exist");
            g->place[g->letters] = r->at++;
            g->letter[g->letters++] = (uint8_t)letter;
        } else if (c == ' ') {
            r->at++;
        } else {
            return fault(r, NB_ERR_ARGUMENT, r->at, "neither a letter, comma, arrow nor \"...\"");
        }
    }
}

/* The groups of the operands, and that of the result if there is an arrow. */
static bool read_groups(reader *r, group *in, group *out, bool *arrow)
{
    for (size_t k = 0; k < r->c->n_in; k++) {
        if (!read_group(r, &in[k]))
            return false;
        const bool last = k + 1 == r->c->n_in;
        if (!last && r->text[r->at] != ',')
            return fault(r, NB_ERR_ARGUMENT, r->at, "there are more operands than groups");
        if (last && r->text[r->at] == ',')
            return fault(r, NB_ERR_ARGUMENT, r->at, "there are more groups than operands");
        r->at += !last;
    }
    *arrow = r->text[r->at] != 0;
    if (!*arrow)
        return true;
    r->at += 2;
    if (!read_group(r, out))
        return false;
    return r->text[r->at] == 0 || fault(r, NB_ERR_ARGUMENT, r->at, "the formula should end here");
}

/* ---- terms ----------------------------------------------------------------------------------- */

/* A label for each axis, `dots` of them for "...". */
static void expand(const group *g, int dots, nbi_term *t)
{
    t->rank = 0;
    for (int i = 0; i <= g->letters; i++) {
        for (int j = 0; i == g->dots && j < dots; j++)
            t->label[t->rank++] = (uint8_t)(NBI_LABELS - dots + j);
        if (i < g->letters)
            t->label[t->rank++] = g->letter[i];
    }
}

/* The label's size is n, at this place. */
static bool meet(reader *r, int label, int64_t n, int place)
{
    int64_t *size = &r->size[label];
    if (*size < 0 || (label >= NBI_LETTERS && *size == 1))
        *size = n;
    if (*size == n || (label >= NBI_LETTERS && n == 1))
        return true;
    if (label >= NBI_LETTERS)
        return fault(r, NB_ERR_SHAPE, place, "the axes of \"...\" do not broadcast");
    return fault(r, NB_ERR_SHAPE, place, "this letter has another size than before");
}

static bool hold_operand(reader *r, size_t k, const group *g, nbi_term *t)
{
    const nb_var x = r->c->vars[k];
    const int rank = nb_rank(x), dots = rank - g->letters;
    if (dots < 0)
        return fault(r, NB_ERR_SHAPE, g->place[rank], "the operand has no axis for this letter");
    if (dots > 0 && g->dots < 0)
        return fault(r, NB_ERR_SHAPE, g->start,
                     "the operand has more axes than this group letters");
    r->most = dots > r->most ? dots : r->most;
    expand(g, dots, t);
    for (int i = 0; i < rank; i++) {
        const bool dotted = t->label[i] >= NBI_LETTERS;
        const int j = i - (g->dots >= 0 && i >= g->dots ? dots : 0);
        if (!meet(r, t->label[i], nb_dim(x, i), dotted ? g->dots_at : g->place[j]))
            return false;
    }
    return true;
}

static bool too_many(const reader *r)
{
    return fault(r, NB_ERR_SHAPE, 0, "the result has more axes than a tensor can have");
}

/* The result as written. */
static bool hold_result(const reader *r, const group *g, nbi_term *t)
{
    uint64_t named = 0;
    if (g->dots < 0 && r->most > 0)
        return fault(r, NB_ERR_ARGUMENT, g->start, "the result lacks the \"...\" of the operands");
    if (g->letters + (g->dots < 0 ? 0 : r->most) > NB_MAX_RANK)
        return too_many(r);
    for (int i = 0; i < g->letters; i++) {
        if (r->size[g->letter[i]] < 0)
            return fault(r, NB_ERR_ARGUMENT, g->place[i], "no operand has this letter");
        if (named & nbi_label_bit(g->letter[i]))
            return fault(r, NB_ERR_ARGUMENT, g->place[i], "the result has this letter twice");
        named |= nbi_label_bit(g->letter[i]);
    }
    expand(g, r->most, t);
    return true;
}

/* The result as the operands imply it: "...", then the letters that occur once. */
static bool imply_result(const reader *r, const group *in, nbi_term *t)
{
    group g = {.dots = 0};
    int seen[NBI_LETTERS] = {0}, once = 0;
    for (size_t k = 0; k < r->c->n_in; k++)
        for (int i = 0; i < in[k].letters; i++)
            seen[in[k].letter[i]]++;
    for (int l = 0; l < NBI_LETTERS; l++)
        once += seen[l] == 1;
    if (once + r->most > NB_MAX_RANK)
        return too_many(r);
    for (int l = 0; l < NBI_LETTERS; l++)
        if (seen[l] == 1)
            g.letter[g.letters++] = (uint8_t)l;
    expand(&g, r->most, t);
    return true;
}

bool nbi_formula_read(const nb_call *c, const char *text, nbi_formula *f)
{
    reader r = {.c = c, .text = text};
    group in[NBI_FACTORS], out;
    bool arrow = false;
    for (int l = 0; l < NBI_LABELS; l++)
        r.size[l] = -1;
    if (!read_groups(&r, in, &out, &arrow))
        return false;
    for (size_t k = 0; k < c->n_in; k++)
        if (!hold_operand(&r, k, &in[k], &f->in[k]))
            return false;
    return arrow ? hold_result(&r, &out, &f->out) : imply_result(&r, in, &f->out);
}
