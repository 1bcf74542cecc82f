/*
 * Plots: the calls. Lay out, draw into memory, write. Only the last step touches the stream or the file,
 * and it has all there is to write.
 */
#include "view/plot.h"

#include "base/atomic.h"
#include "base/reason.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

/* ---- text that grows ------------------------------------------------------------------------- */

static void add(nbi_ink *ink, const char *text, size_t size)
{
    if (ink->failed)
        return;
    if (size > ink->room - ink->size) {
        size_t room;
        char *larger = NULL;
        if (!__builtin_add_overflow(2 * ink->room + 4096, size, &room))
            larger = nb_resize(ink->allocator, ink->text, ink->room, room);
        ink->failed = !larger;
        if (ink->failed)
            return;
        ink->text = larger;
        ink->room = room;
    }
    memcpy(ink->text + ink->size, text, size);
    ink->size += size;
}

void nbi_ink_add(nbi_ink *ink, const char *text) { add(ink, text, strlen(text)); }

void nbi_ink_print(nbi_ink *ink, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    const int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (n > 0)
        add(ink, text, strlen(text));
}

void nbi_ink_free(nbi_ink *ink)
{
    if (ink->text)
        nb_resize(ink->allocator, ink->text, ink->room, 0);
}

/* ---- the calls ------------------------------------------------------------------------------- */

typedef enum form { TEXT, SVG } form;

/* The drawing in ink, which is to be freed in any case. */
static nb_code draw(nbi_ink *ink, const nb_plot *p, form as, nb_reason *why)
{
    nbi_plot_layout l;
    const nb_code code = nbi_plot_lay_out(&l, p, why);
    *ink = (nbi_ink){.allocator = p ? &p->allocator : NULL};
    if (code)
        return code;
    if (as == SVG)
        nbi_plot_to_svg(&l, ink);
    else if (!nbi_plot_to_text(&l, ink))
        ink->failed = true;
    return ink->failed ? nbi_because(why, NB_ERR_MEMORY, "plot: no memory for the drawing") : NB_OK;
}

static nb_code write_to(FILE *to, const nb_plot *p, form as, nb_reason *why)
{
    nbi_ink ink;
    if (!to)
        return nbi_because(why, NB_ERR_ARGUMENT, "plot: the stream is NULL");
    nb_code code = draw(&ink, p, as, why);
    if (!code && (fwrite(ink.text, 1, ink.size, to) != ink.size || fflush(to) || ferror(to)))
        code =
            nbi_because(why, NB_ERR_FILE, "plot: the stream did not take it: %s", strerror(errno));
    nbi_ink_free(&ink);
    return code;
}

nb_code nb_plot_print(FILE *to, const nb_plot *p, nb_reason *why)
{
    return write_to(to, p, TEXT, why);
}

nb_code nb_plot_svg(FILE *to, const nb_plot *p, nb_reason *why)
{
    return write_to(to, p, SVG, why);
}

nb_code nb_plot_save(const char *path, const nb_plot *p, nb_reason *why)
{
    nbi_ink ink;
    if (!path)
        return nbi_because(why, NB_ERR_ARGUMENT, "plot: the path is NULL");
    nb_code code = draw(&ink, p, SVG, why);
    if (!code)
        code = nbi_write_atomic(&nbi_real_disk, path, 1, &(nb_piece){ink.text, ink.size}, why);
    nbi_ink_free(&ink);
    return code;
}
