/*
 * Whose parameters an optimizer, an average or a monitor works on: they must be those that it is used with.
 */
#ifndef NABLA_SRC_TRAIN_OWNER_H
#define NABLA_SRC_TRAIN_OWNER_H

#include <nabla/monitor.h>

const nb_params *nbi_optim_params(const nb_optim *o);
const nb_params *nbi_average_params(const nb_average *a);
const nb_params *nbi_monitor_params(const nb_monitor *m);

/* Whether the parameters hold the mean at present. NULL: they do not. */
bool nbi_average_swapped(const nb_average *a);

#endif
