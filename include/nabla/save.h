/*
 * nabla/save.h: a model and all that belongs to it, in one file.
 *
 *     nb_save(&(nb_saved){.params = p, .optim = o, .prep = prep, .schema = schema}, "model.safetensors", &why);
 *
 *     nb_saved s = {.params = p};                     made as they were: layer by layer, by the same names
 *     nb_load(&s, "model.safetensors", &why);         then s.prep and s.schema are what was saved, or NULL
 *
 * The format is safetensors, written and read as nabla/file.h says: atomically, with a checksum, all or
 * nothing. Python's safetensors reads the parameters by their names. Beside them there are
 *     statistics/<name>      running means and the like
 *     optim/<state>/<name>   what the optimizer remembers of each parameter
 *     average/<name>         the mean of weights
 *     prep/…, schema/…       preprocessing and the meaning of columns
 * and among the texts "model.version" and the numbers of steps.
 */
#ifndef NABLA_SAVE_H
#define NABLA_SAVE_H

#include <nabla/data.h>
#include <nabla/optim.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What is NULL is not saved; and when loading, not asked for. */
typedef struct nb_saved {
    nb_params *params;
    nb_optim *optim;
    nb_average *average;
    nb_batches *batches; /* which batch is next */
    nb_prep *prep; /* loading makes new ones, which are the caller's; NULL if the file has none */
    nb_schema *schema;
} nb_saved;

NB_API nb_code nb_save(const nb_saved *s, const char *path, nb_reason *why);
/* The file must have each parameter, of the same shape and dtype, and no others; and what else is asked
 * for. The first that does not fit is named, and then nothing has changed. */
NB_API nb_code nb_load(nb_saved *s, const char *path, nb_reason *why);

#ifdef __cplusplus
}
#endif
#endif
