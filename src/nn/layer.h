/*
 * What layers share when they are made.
 */
#ifndef NABLA_SRC_NN_LAYER_H
#define NABLA_SRC_NN_LAYER_H

#include <nabla/layers.h>

/* "layer.suffix" into text; false and an error if the name is missing or too long. */
enum { NBI_NAME = 160 };
bool nbi_name_of(nb_params *p, char text[NBI_NAME], const char *layer, const char *suffix);

/* Adds "layer.suffix". init, if it is the default rule, is `usual`. */
nb_param nbi_add(nb_params *p, const char *layer, const char *suffix, nb_shape shape,
                 nb_param_options o, nb_init usual, nb_rng *r);

/* w [in out], in parts, and b [out]. */
nb_linear_layer nbi_linear(nb_params *p, const char *layer, nb_shape w, int64_t parts,
                           const nb_layer_options *o, nb_init usual, nb_rng *r);

#endif
