/*
 * Whose parameters an optimizer or an average was made for: what works on a model by its own offsets, as
 * fits and files do, must not be given the memory of another one.
 */
#ifndef NABLA_SRC_TRAIN_OWNER_H
#define NABLA_SRC_TRAIN_OWNER_H

#include <nabla/optim.h>

/* NULL for NULL. */
const nb_params *nbi_optim_owner(const nb_optim *o);
const nb_params *nbi_average_owner(const nb_average *a);
/* Whether the parameters hold the mean at present. */
bool nbi_average_swapped(const nb_average *a);

#endif
