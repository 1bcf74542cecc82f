/*
 * Asserts on what functions without a tape return: a code, and a reason in words.
 */
#ifndef NABLA_TESTS_REASON_H
#define NABLA_TESTS_REASON_H

#include "run.h"

#include <nabla/base.h>
#include <string.h>

/* The code and a part of the reason. */
static inline void said(nb_code code, nb_code expected, const nb_reason *why, const char *part)
{
    ck_assert_msg(code == expected, "expected %s, have %s: %s", nb_code_name(expected),
                  nb_code_name(code), why->text);
    ck_assert_msg(strstr(why->text, part) != NULL, "no \"%s\" in: %s", part, why->text);
}

static inline void fine(nb_code code, const nb_reason *why)
{
    ck_assert_msg(!code, "%s: %s", nb_code_name(code), code ? why->text : "");
}

#endif
