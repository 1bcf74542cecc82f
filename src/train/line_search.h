/*
 * Line searches: how far to go from x along d, a direction in which f falls.
 */
#ifndef NABLA_SRC_TRAIN_LINE_SEARCH_H
#define NABLA_SRC_TRAIN_LINE_SEARCH_H

#include <nabla/optim.h>

typedef struct nbi_line {
    int64_t n;
    nb_objective_fn *objective;
    void *context;
    const double *x, *d; /* [n] */
    double f, slope;     /* at x, along d: slope < 0 */
    int32_t calls, most; /* of the objective: made so far, and allowed */
    /* What it leaves: the point where it stands, f and the gradient there. */
    double *there, *gradient;
    double f_there;
    nb_code code; /* of an objective that failed */
} nbi_line;

/* f at x itself, to f_there, with the gradient. False if the objective fails. */
bool nbi_line_begin(nbi_line *l);
/* From the step `first` on. True if it stands at a point to go on from. */
bool nbi_line_search(nbi_line *l, nb_line_search kind, double first);

#endif
