/*
 * Messages; the contract is in reason.h.
 */
#include "base/reason.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

nb_code nbi_because(nb_reason *why, nb_code code, const char *format, ...)
{
    if (!why)
        return code;
    va_list list;
    va_start(list, format);
    const int n = vsnprintf(why->text, sizeof why->text, format, list);
    va_end(list);
    if (n >= (int)sizeof why->text) {
        size_t cut = sizeof why->text - sizeof "...";
        while (cut && ((unsigned char)why->text[cut] & 0xc0) == 0x80)
            cut--;
        memcpy(why->text + cut, "...", sizeof "...");
    }
    for (char *p = why->text; *p; p++)
        if (((unsigned char)*p < 0x20 && *p != '\n') || *p == 0x7f)
            *p = '?';
    return code;
}
