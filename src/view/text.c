/*
 * How nodes read: names, numbers, shapes.
 *
 * Names come from users and may be anything. What is printed is always valid UTF-8 (or ASCII, where
 * that is asked for), of a width that is known: control characters and broken sequences become '?',
 * and a long name is cut, which an ellipsis says. Numbers have four significant digits, which is
 * what fits on an edge; the exact ones are a call of nb_value away.
 */
#include "view/view.h"

#include <stdio.h>

/* The bytes of the character at s: 0 at the end, 1 too where the sequence is broken. */
static int character(const char *s, bool *good)
{
    const unsigned char *u = (const unsigned char *)s;
    int n = u[0] == 0     ? 0
            : u[0] < 0x80 ? 1
            : u[0] < 0xc2 ? -1
            : u[0] < 0xe0 ? 2
            : u[0] < 0xf0 ? 3
                          : 4;
    *good = n >= 0 && u[0] < 0xf5 && (n != 1 || (u[0] >= 0x20 && u[0] != 0x7f));
    for (int k = 1; k < n && *good; k++)
        *good = (u[k] & 0xc0) == 0x80;
    if (*good && n > 1) { /* no controls, surrogates, overlong forms */
        unsigned two = (unsigned)u[0] << 8 | u[1];
        *good = !(two >= 0xc280 && two < 0xc2a0) && !(two >= 0xeda0 && two < 0xee00) &&
                !(two >= 0xe080 && two < 0xe0a0) && !(two >= 0xf080 && two < 0xf090) &&
                two < 0xf490;
    }
    return *good ? n : 1;
}

int nbi_view_width(const char *s)
{
    int width = 0;
    for (; *s; s++)
        width += ((unsigned char)*s & 0xc0) != 0x80;
    return width;
}

void nbi_view_clean(char *to, const char *from, bool ascii)
{
    nbi_view_cut(to, from, NBI_VIEW_NAME, ascii);
}

void nbi_view_cut(char *to, const char *from, int columns, bool ascii)
{
    const char *cut = ascii ? "~" : "…";
    char *last = to; /* where the character in the last column begins */
    int width = 0;
    bool good;
    for (int n; (n = character(from, &good)) > 0; from += n, width++) {
        if (width == columns) {
            memcpy(last, cut, strlen(cut) + 1);
            return;
        }
        last = to;
        if (!good || (ascii && n > 1))
            *to++ = '?';
        else
            for (int k = 0; k < n; k++)
                *to++ = from[k];
    }
    *to = 0;
}

void nbi_view_value(char *to, nb_tape *t, uint32_t i)
{
    char shape[NBI_SHAPE_TEXT];
    nb_shape s = nb_shape_of(nbi_var(t, i));
    if (s.rank < 0)
        snprintf(to, NBI_VIEW_TEXT, "%.4g", t->hot.cells[i].value);
    else
        snprintf(to, NBI_VIEW_TEXT, "%.*s", NBI_VIEW_TEXT - 1,
                 nbi_shape_text(shape, s.rank, s.dims));
}

bool nbi_view_adjoint(char *to, nb_tape *t, uint32_t i)
{
    nb_var v = nbi_var(t, i);
    if (nbi_is_tensor(t, i) || !nb_has_grad(v))
        return false;
    snprintf(to, NBI_VIEW_TEXT, "%.4g", nb_grad(v));
    return true;
}

bool nbi_view_partial(char *to, nb_tape *t, uint32_t i, size_t k)
{
    uint32_t from = nbi_operand(t, i, k);
    if (t->hot.ops[i] == NBI_RECORD || nbi_still(t, i) || nbi_still(t, from))
        return false;
    snprintf(to, 32, "%.4g", nb_partial(nbi_var(t, i), k));
    return true;
}
