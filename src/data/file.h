/*
 * A file in memory, from inside: entries and texts, each named once. The names of entries and the keys
 * of texts are numbered sets; entry i belongs to name i, text i to key i.
 */
#ifndef NABLA_SRC_FILE_H
#define NABLA_SRC_FILE_H

#include "data/input.h"
#include "data/names.h"
#include <nabla/file.h>

struct nb_file {
    nbi_heap heap;
    nbi_arena store; /* copies of data and texts */
    nbi_names names, keys;
    nb_file_entry *entry; /* [names.count] in an array of room */
    size_t room;
    const char **text; /* [keys.count] in an array of text_room */
    size_t text_room;
    nb_code code; /* the first error of a put */
    nb_reason why;
};

/* The bytes of a tensor; false if they overflow, or type or shape are none. */
bool nbi_tensor_bytes(nb_type type, nb_shape shape, size_t *bytes);
/* Whether so many bytes are UTF-8, without NUL. */
bool nbi_is_utf8(const char *text, size_t size);

/* As nb_file_put and nb_file_put_text, of texts of a given length, for loaders: an empty name is
 * fine, a name or key that is there already is an error. */
nb_code nbi_file_add(nb_file *f, const char *name, size_t size, const nb_file_entry *entry,
                     nb_reason *why);
nb_code nbi_file_add_text(nb_file *f, const char *key, size_t key_size, const char *text,
                          size_t size, nb_reason *why);

/* Room for every entry's data, aligned; the entries point to it. */
nb_code nbi_file_give_room(nb_file *f, nb_reason *why);

/* Loads a file as every format does: makes *f, opens the input, lets `load` fill f, and cleans up;
 * *f is NULL on an error. */
typedef nb_code nbi_loader(nb_file *f, nbi_input *in, nb_reason *why);
nb_code nbi_file_load_by(nbi_loader *load, const char *path, const nb_allocator *allocator,
                         nb_file **f, nb_reason *why);

#endif
