/*
 * A bar for long work: one line, written again and again.
 *
 * A carriage return goes back to the line's beginning, and the terminal is asked to clear what the last
 * drawing left behind the end of this one. The line keeps within 79 columns, so that no terminal of the
 * usual width wraps it; a wrapped line could not be gone back over.
 */
#include <nabla/plot.h>

#include "view/view.h"

#include <string.h>
#include <unistd.h>

enum { WIDTH = 79, CELLS = 24, LABEL = 24, PART = 160 };

static bool on_terminal(const nb_bar *b) { return b && b->to && isatty(fileno(b->to)); }

/* What is left, judged by what has been done. */
static void put_time(char *to, int64_t done, int64_t total, double seconds)
{
    const double left = done > 0 ? seconds * (double)(total - done) / (double)done : 0;
    *to = 0;
    if (left >= 5940)
        snprintf(to, PART, ", %.0f h left", left / 3600);
    else if (left >= 99)
        snprintf(to, PART, ", %.0f min left", left / 60);
    else if (left >= 1)
        snprintf(to, PART, ", %.0f s left", left);
}

static void put_cells(char *to, const nb_bar *b, double share)
{
    const int full = (int)(share * CELLS);
    *to = 0;
    for (int k = 0; k < CELLS; k++)
        strcat(to, k < full ? b->ascii ? "=" : "━" : b->ascii ? "-" : "╌");
}

void nb_bar_draw(nb_bar *b, int64_t done, int64_t total, double seconds, const char *text)
{
    char cells[PART] = "", label[PART] = "", time[PART] = "", rest[4 * WIDTH + 4] = "", amount[64];
    if (!on_terminal(b))
        return;
    const bool whole = total > 0 && done >= total;
    if (b->shown && !whole && seconds - b->last < 0.1 && seconds >= b->last)
        return;
    if (b->label)
        nbi_view_cut(label, b->label, LABEL, b->ascii);
    if (total > 0) {
        const double share = whole ? 1 : done > 0 ? (double)done / (double)total : 0;
        put_cells(cells, b, share);
        put_time(time, done, total, seconds);
        snprintf(amount, sizeof amount, " %d %%", (int)(100 * share));
    } else {
        snprintf(amount, sizeof amount, "%lld", (long long)done);
    }
    const int used = nbi_view_width(label) + 1 + nbi_view_width(cells) + (int)strlen(amount) +
                     (int)strlen(time) + 2;
    if (text && used < WIDTH)
        nbi_view_cut(rest, text, WIDTH - used, b->ascii);
    fprintf(b->to, "\r%s%s%s%s%s%s%s\x1b[K", label, *label ? " " : "", cells, amount, time,
            *rest ? "  " : "", rest);
    fflush(b->to);
    b->shown = true;
    b->last = seconds;
}

void nb_bar_clear(nb_bar *b)
{
    if (!on_terminal(b) || !b->shown)
        return;
    fputs("\r\x1b[K", b->to);
    fflush(b->to);
    b->shown = false;
}
