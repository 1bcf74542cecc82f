/*
 * A text that grows at its end. The first failure stays, and is asked for once, when the text is done.
 */
#ifndef NABLA_SRC_TEXT_H
#define NABLA_SRC_TEXT_H

#include "base/memory.h"

typedef struct nbi_text {
    nbi_heap *heap;
    char *data; /* size bytes, and a NUL if there are any */
    size_t size, room;
    bool failed; /* there was no memory */
} nbi_text;

static inline nbi_text nbi_text_on(nbi_heap *heap) { return (nbi_text){.heap = heap}; }
void nbi_text_free(nbi_text *t);
void nbi_text_bytes(nbi_text *t, const char *bytes, size_t size);
void nbi_text_put(nbi_text *t, const char *text);
void nbi_text_add(nbi_text *t, const char *format, ...) NBI_FORMAT(2, 3); /* up to 500 bytes */
/* As a JSON string, in quotes. */
void nbi_text_json(nbi_text *t, const char *s);

#endif
