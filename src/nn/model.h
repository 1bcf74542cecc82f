/*
 * What stands behind nb_params. Parameters and statistics are two lists of the same kind: entries, and
 * one array that holds the elements of all of them, each entry's from its offset on.
 *
 * Names are entries' own copies. Everything is allocated by the caller's allocator, which is told
 * sizes; so sizes are kept beside pointers.
 */
#ifndef NABLA_SRC_NN_MODEL_H
#define NABLA_SRC_NN_MODEL_H

#include <nabla/params.h>

typedef struct nbi_entry {
    char *name;
    int32_t group;
    nb_shape shape;
    int64_t size, offset;
    nb_fans fans;
    int64_t parts;
    bool frozen;
} nbi_entry;

typedef struct nbi_entries {
    nbi_entry *entry;
    int32_t count, room;
    void *data;
    int64_t size, capacity; /* elements in data */
} nbi_entries;

enum { NBI_PARAMS_MESSAGE = 512 };

struct nb_params {
    nb_allocator allocator;
    nb_dtype dtype;
    nbi_entries params, statistics;
    char **group;
    int32_t groups, group_room, group_now;
    bool sealed;
    void *grads, *state;
    size_t states;       /* arrays in state */
    nb_var *var, *still; /* of the training pass and of the evaluation pass, each [count] */
    nb_code code;
    char message[NBI_PARAMS_MESSAGE];
};

static inline size_t nbi_width(nb_dtype d) { return d == NB_F64 ? sizeof(double) : sizeof(float); }

static inline void *nbi_element_place(void *data, nb_dtype d, int64_t offset)
{
    return data ? (char *)data + (size_t)offset * nbi_width(d) : NULL;
}

static inline double nbi_load(const void *data, nb_dtype d, int64_t i)
{
    return d == NB_F64 ? ((const double *)data)[i] : (double)((const float *)data)[i];
}

static inline void nbi_store(void *data, nb_dtype d, int64_t i, double value)
{
    if (d == NB_F64)
        ((double *)data)[i] = value;
    else
        ((float *)data)[i] = (float)value;
}

/* The entry of that index, or NULL and an error that says who asked. */
nbi_entry *nbi_entry_at(nb_params *p, const char *who, nb_param i);

/* Seals: the arrays of gradients and vars exist, and nothing moves any more. */
bool nbi_seal(nb_params *p);

/* Whether the rule draws random numbers. */
bool nbi_draws(nb_init_rule rule);
/* Fills e's elements. The code says NB_ERR_MEMORY if there was none. */
nb_code nbi_draw(const nb_params *p, const nbi_entry *e, nb_init init, nb_rng *r, void *out);

#endif
