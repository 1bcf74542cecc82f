/*
 * Messages of functions that have no tape: the counterpart of a tape's message.
 */
#ifndef NABLA_SRC_REASON_H
#define NABLA_SRC_REASON_H

#include <nabla/base.h>

/* Writes the message, if why is not NULL, and returns code. Text may come from files and users: bytes
 * that a terminal might obey become '?', and what does not fit is cut with "...", never within a
 * character. */
nb_code nbi_because(nb_reason *why, nb_code code, const char *format, ...) NBI_FORMAT(3, 4);

#endif
