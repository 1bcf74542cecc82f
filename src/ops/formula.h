/*
 * The formula of an einsum, read and held against its operands.
 *
 * An axis has a label: a letter, or a place among the axes that "..." stands for. The latter are
 * counted from the last, as broadcasting aligns them, so that the last of them is the same label in
 * every operand. There are fewer than 64 labels: a set of them is one word.
 */
#ifndef NABLA_SRC_FORMULA_H
#define NABLA_SRC_FORMULA_H

#include <nabla/op.h>

enum {
    NBI_LETTERS = 52, /* capitals first */
    NBI_LABELS = NBI_LETTERS + NB_MAX_RANK,
    NBI_FACTORS = 16 /* operands at most */
};

/* Labels in the order of their axes. */
typedef struct nbi_term {
    int rank;
    uint8_t label[NB_MAX_RANK];
} nbi_term;

typedef struct nbi_formula {
    nbi_term in[NBI_FACTORS], out;
} nbi_formula;

static inline uint64_t nbi_label_bit(int label) { return UINT64_C(1) << label; }

/* Reads text for the operands c->vars, at most NBI_FACTORS. False after a refusal, which shows the
 * text and points at the place. In the result, a letter has one size wherever it stands; labels of
 * "..." broadcast; and every label of out is in some operand, and once in out. */
bool nbi_formula_read(const nb_call *c, const char *text, nbi_formula *f);

#endif
