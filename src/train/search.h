/*
 * Spaces of hyperparameters, from inside: whether one makes sense, and the points of it.
 */
#ifndef NABLA_SRC_SEARCH_H
#define NABLA_SRC_SEARCH_H

#include <nabla/search.h>

/* Whether all dimensions are in order, for a search of that kind. */
nb_code nbi_space_check(const nb_search_spec *spec, nb_reason *why);

/* How many points the grid of a checked space has, or -1 if more than NB_SEARCH_TRIALS. */
int64_t nbi_grid_size(const nb_search_spec *spec);
/* The number-th of them. */
void nbi_grid_point(const nb_search_spec *spec, int64_t number, double *value);

/* A point at random, by a generator's next numbers. */
void nbi_random_point(const nb_search_spec *spec, nb_rng *r, double *value);

#endif
