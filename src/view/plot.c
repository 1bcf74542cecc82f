/*
 * Plots: the calls. Lay out, draw into memory, write. Only the last step touches the stream or the file,
 * and it has all there is to write.
 */
#include "view/plot.h"

#include "base/atomic.h"
#include "base/reason.h"

#include <errno.h>
#include <string.h>

/* ---- the calls ------------------------------------------------------------------------------- */

typedef enum form { TEXT, SVG } form;

/* The drawing in ink, on that heap; it is to be freed in any case. */
static nb_code draw(nbi_text *ink, nbi_heap *heap, const nb_plot *p, form as, nb_reason *why)
{
    nbi_plot_layout l;
    const nb_code code = nbi_plot_lay_out(&l, p, why);
    nbi_heap_init(heap, p ? &p->allocator : NULL, 0);
    *ink = nbi_text_on(heap);
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
    nbi_heap heap;
    nbi_text ink;
    if (!to)
        return nbi_because(why, NB_ERR_ARGUMENT, "plot: the stream is NULL");
    nb_code code = draw(&ink, &heap, p, as, why);
    if (!code && (fwrite(ink.data, 1, ink.size, to) != ink.size || fflush(to) || ferror(to)))
        code =
            nbi_because(why, NB_ERR_FILE, "plot: the stream did not take it: %s", strerror(errno));
    nbi_text_free(&ink);
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
    nbi_heap heap;
    nbi_text ink;
    if (!path)
        return nbi_because(why, NB_ERR_ARGUMENT, "plot: the path is NULL");
    nb_code code = draw(&ink, &heap, p, SVG, why);
    if (!code)
        code = nbi_write_atomic(&nbi_real_disk, path, 1, &(nb_piece){ink.data, ink.size}, why);
    nbi_text_free(&ink);
    return code;
}
