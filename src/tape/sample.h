/*
 * The inputs of an op's example calls.
 *
 * A sampler draws the same numbers each time it is started from the same generator, so that an
 * example can be built again with its inputs moved by step * direction, which is what differences
 * need. Drawn values are representable in both element types.
 */
#ifndef NABLA_SRC_SAMPLE_H
#define NABLA_SRC_SAMPLE_H

#include <nabla/op.h>

enum { NBI_SAMPLES = 16 };

struct nb_sampler {
    nb_tape *tape;
    nb_rng rng;
    double step;
    const double *const *direction; /* per input its elements' direction; NULL: not moved */
    size_t n;                       /* inputs so far */
    nb_var in[NBI_SAMPLES];
    /* If not NULL: what the example gets for input number n, which was drawn as x. */
    nb_var (*replace)(nb_sampler *s, nb_var x, double low, double high);
};

#endif
