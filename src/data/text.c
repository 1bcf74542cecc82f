/*
 * Growing texts; the contract is in text.h.
 */
#include "data/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void nbi_text_free(nbi_text *t)
{
    nbi_resize(t->heap, t->data, t->room, 0);
    *t = (nbi_text){.heap = t->heap};
}

void nbi_text_bytes(nbi_text *t, const char *bytes, size_t size)
{
    if (t->failed)
        return;
    if (size >= t->room - t->size) {
        const size_t room = 2 * (t->size + size) + 64;
        char *data = nbi_resize(t->heap, t->data, t->room, room);
        if (!data) {
            t->failed = true;
            return;
        }
        t->data = data;
        t->room = room;
    }
    memcpy(t->data + t->size, bytes, size);
    t->size += size;
    t->data[t->size] = 0;
}

void nbi_text_put(nbi_text *t, const char *text) { nbi_text_bytes(t, text, strlen(text)); }

void nbi_text_add(nbi_text *t, const char *format, ...)
{
    char line[501];
    va_list list;
    va_start(list, format);
    const int n = vsnprintf(line, sizeof line, format, list);
    va_end(list);
    if (n < 0 || n >= (int)sizeof line)
        t->failed = true;
    else
        nbi_text_bytes(t, line, (size_t)n);
}

void nbi_text_json(nbi_text *t, const char *s)
{
    nbi_text_bytes(t, "\"", 1);
    for (; *s; s++) {
        const unsigned char c = (unsigned char)*s;
        if (c == '"' || c == '\\')
            nbi_text_add(t, "\\%c", c);
        else if (c < 0x20 || c == 0x7f)
            nbi_text_add(t, "\\u%04x", c);
        else
            nbi_text_bytes(t, s, 1);
    }
    nbi_text_bytes(t, "\"", 1);
}
