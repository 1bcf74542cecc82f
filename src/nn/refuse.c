/*
 * The operation that refuses; see refuse.h.
 */
#include "refuse.h"

#include <stdarg.h>
#include <stdio.h>

typedef struct refusal {
    nb_code code;
    const char *reason;
    char detail[256];
} refusal;

static nb_code refuse_shape(const nb_call *c, nb_shape *out)
{
    (void)out;
    const refusal *r = c->state;
    return nb_refuse(c, r->code, r->reason, r->detail[0] ? "%s" : NULL, r->detail);
}

static nb_code refuse_forward(const nb_call *c)
{
    (void)c;
    return NB_ERR_ARGUMENT;
}

static nb_var apply(const char *who, size_t n, const nb_var *x, const refusal *r)
{
    const nb_op op = {.name = who, .shape = refuse_shape, .forward = refuse_forward};
    return nb_apply(&op, n, x, r, sizeof *r);
}

nb_var nbi_refuse(const char *who, nb_code code, size_t n, const nb_var *x, const char *reason,
                  const char *format, ...)
{
    refusal r = {.code = code, .reason = reason};
    if (format) {
        va_list args;
        va_start(args, format);
        vsnprintf(r.detail, sizeof r.detail, format, args);
        va_end(args);
    }
    return apply(who, n, x, &r);
}

bool nbi_usable(const char *who, size_t n, const nb_var *x, nb_var *out)
{
    bool good = true, any = false;
    for (size_t k = 0; k < n; k++) {
        good = good && nb_ok(x[k]);
        any = any || x[k].tape;
    }
    if (good && any)
        return true;
    *out = any ? nbi_refuse(who, NB_ERR_HANDLE, n, x, "an operand is of no use", NULL) : NB_NONE;
    return false;
}
