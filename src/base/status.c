/*
 * Status codes to words: two readings of the one map in nabla/base.h.
 */
#include <nabla/base.h>

const char *nb_code_name(nb_code code)
{
#define NAME(code, name, text) name,
    static const char *const names[] = {NB_CODES(NAME)};
#undef NAME
    return (unsigned)code < NBI_CODES ? names[code] : "unknown";
}

const char *nb_code_text(nb_code code)
{
#define TEXT(code, name, text) text,
    static const char *const texts[] = {NB_CODES(TEXT)};
#undef TEXT
    return (unsigned)code < NBI_CODES ? texts[code] : "not a code of this library";
}
