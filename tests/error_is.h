/*
 * The error on a tape: its code, and a part of its message. It is cleared. `refused` asks besides that
 * the result is inert.
 */
#ifndef NABLA_TESTS_ERROR_IS_H
#define NABLA_TESTS_ERROR_IS_H

#include "run.h"

#include <math.h>
#include <nabla.h>
#include <string.h>

static inline void is(nb_tape *t, nb_code code, const char *part)
{
    ck_assert_msg(nb_status(t) == code, "expected %s, have %s: %s", nb_code_name(code),
                  nb_code_name(nb_status(t)), nb_message(t));
    ck_assert_msg(strstr(nb_message(t), part) != NULL, "no \"%s\" in: %s", part, nb_message(t));
    nb_clear(t);
}

static inline void refused(nb_tape *t, nb_var y, nb_code code, const char *part)
{
    ck_assert(!nb_ok(y) && isnan(nb_value(y)) && isnan(nb_grad(y)));
    is(t, code, part);
}

#endif
