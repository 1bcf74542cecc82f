/*
 * Sanity checks, from inside: what the four have in common.
 */
#ifndef NABLA_SRC_TRAIN_SANITY_H
#define NABLA_SRC_TRAIN_SANITY_H

#include "nn/model.h"
#include <nabla/sanity.h>

typedef struct nbi_sanity {
    nb_learner l; /* its params are the copy */
    const nb_params *original;
    const nb_dataset *all;
    nb_dataset *rows; /* drawn and prepared, for the check under way */
    nb_sanity_options o;
    nb_tape *t;
    nb_mark start;
    nb_rng rng;
    double chance;
    nb_sanity_result *result;
    nb_reason *why;
} nbi_sanity;

/* What guessing would give on the rows drawn; NaN if it is not known. */
double nbi_guessing(const nbi_sanity *w);
/* In the order of nb_sanity_check. Each fills w->result, or returns why it could not be carried out. */
extern nb_code (*const nbi_sanity_check[NB_SANITY_COUNT])(nbi_sanity *w);
/* How a check ended. Returns NB_OK. */
nb_code nbi_sanity_end(nbi_sanity *w, nb_sanity_status status, double value, double expected,
                       const char *format, ...) NBI_FORMAT(5, 6);

#endif
