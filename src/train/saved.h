/*
 * Models in files, from inside: the steps of nb_save and nb_load one by one, for those who keep more in
 * the same file.
 */
#ifndef NABLA_SRC_TRAIN_SAVED_H
#define NABLA_SRC_TRAIN_SAVED_H

#include <nabla/save.h>

/* Puts all of s into f. The file points to the arrays of s, and must be saved before these change. */
nb_code nbi_saved_put(const nb_saved *s, nb_file *f, nb_reason *why);
/* Takes all that s asks for from f, or nothing. */
nb_code nbi_saved_take(nb_saved *s, const nb_file *f, nb_reason *why);

#endif
