/*
 * Plots as SVG, and what any plot refuses.
 *
 * SVG is read by a checker of its own: tags balance, attributes are quoted, text is escaped. Paths of small
 * plots are compared with pixels that follow from the sizes.
 */
#include "counting.h"
#include "folder.h"
#include "plot.h"

#include <string.h>

/* ---- SVG ------------------------------------------------------------------------------------- */

/* The tag at s, which begins with '<': its attributes quoted, each with one '='. Returns its end. */
static const char *read_tag(const char *s, char *name, bool *closes, bool *empty)
{
    size_t n = strcspn(s + 1, " />\n");
    *closes = s[1] == '/';
    if (*closes)
        n = 1 + strcspn(s + 2, ">");
    snprintf(name, 32, "%.*s", (int)(n - *closes), s + 1 + *closes);
    for (s += 1 + n; *s == ' ';) {
        s += strspn(s, " ");
        const size_t key =
            strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-0123456789");
        ck_assert_msg(key && !strncmp(s + key, "=\"", 2), "attribute: %.40s", s);
        const char *value = s + key + 2;
        s = value + strcspn(value, "\"<");
        ck_assert_msg(*s == '"', "value: %.40s", value);
        s++;
    }
    *empty = *s == '/';
    s += *empty;
    ck_assert_msg(*s == '>', "tag %s: %.40s", name, s);
    return s + 1;
}

static void well_formed(const char *s)
{
    char open[16][32], name[32];
    int depth = 0, tags = 0;
    while (*s) {
        bool closes, empty;
        if (*s == '&') {
            static const char *const known[] = {"&amp;", "&lt;", "&gt;", "&quot;", "&#39;"};
            bool good = false;
            for (int k = 0; k < 5; k++)
                good = good || !strncmp(s, known[k], strlen(known[k]));
            ck_assert_msg(good, "entity: %.20s", s);
        }
        if (*s != '<') {
            ck_assert_msg((unsigned char)*s >= 0x20 || *s == '\n', "a control character");
            ck_assert_msg(depth > 0 || *s == '\n', "text outside: %.20s", s);
            s++;
            continue;
        }
        s = read_tag(s, name, &closes, &empty);
        ck_assert(strcmp(name, "script") && ++tags);
        if (closes) {
            ck_assert(depth > 0);
            ck_assert_str_eq(open[--depth], name);
        } else if (!empty) {
            ck_assert_int_lt(depth, 16);
            strcpy(open[depth++], name);
        }
    }
    ck_assert(depth == 0 && tags > 10);
}

START_TEST(svg_is_well_formed)
{
    const double x[] = {1, 2, 3, none, 5}, y[] = {1, 1e-3, none, 1, 7}, y2[] = {2, 1, 1, 1, 8};
    const double z[] = {1, 2, 3, none, 0, -1};
    const nb_heat h = {
        .name = "heat \"<&>'", .rows = 2, .columns = 3, .z = z, .x = {1, 5}, .y = {1e-3, 7}};
    nb_series s[40] = {{0}};
    for (int k = 0; k < 40; k++)
        s[k] = (nb_series){.name = k % 2 ? "a <b> & \"c\" 'd' \x01\xff" : NULL,
                           .kind = (nb_plot_kind)(k % NB_PLOT_KINDS),
                           .n = 5,
                           .x = x,
                           .y = y,
                           .y2 = y2};
    for (int log = 0; log < 2; log++) {
        const nb_plot p = {.title = "</title><script>",
                           .x.label = "x & \n",
                           .y = {.label = "<y>", .log = log != 0},
                           .n = 40,
                           .series = s,
                           .heat = &h,
                           .rows = 40};
        char *text = drawn(&p, nb_plot_svg);
        well_formed(text);
        ck_assert_ptr_nonnull(strstr(text, "<title>&lt;/title&gt;&lt;script&gt;</title>"));
        ck_assert_ptr_nonnull(
            strstr(text, ">a &lt;b&gt; &amp; &quot;c&quot; &#39;d&#39; ?\?</text>"));
        free(text);
    }
}
END_TEST

START_TEST(svg_paths)
{
    /* 25 by 12 cells of 8 by 18, less 5 columns and 2 rows: an area of 160 by 180 */
    nb_series s = {.n = 3, .x = (const double[]){0, 1, 2}, .y = (const double[]){0, 1, 0}};
    nb_plot p = {.x.high = 1, .y.high = 1, .n = 1, .series = &s, .columns = 25, .rows = 12};
    static const struct {
        nb_plot_kind kind;
        const char *path;
    } of[] = {
        {NB_PLOT_LINE, " d=\"M0 180 L160 0 \""}, /* the second line only touches */
        {NB_PLOT_POINTS, " d=\"M0 180 h0 M160 0 h0 \""},
        {NB_PLOT_STEPS, " d=\"M0 180 L160 180 L160 0 "},
        {NB_PLOT_BAND, " d=\"M0 180 L160 0 L160 90 L0 90 Z M160 0 L320 180 L320 90 L160 90 Z \""},
        {NB_PLOT_BARS, " d=\"M0 180 L64 180 L64 180 L0 180 Z M96 180 L160 180 L160 0 L96 0 Z \""},
    };
    s.y2 = (const double[]){0.5, 0.5, 0.5};
    for (size_t k = 0; k < sizeof of / sizeof *of; k++) {
        s.kind = of[k].kind;
        char *text = drawn(&p, nb_plot_svg);
        ck_assert_msg(strstr(text, of[k].path) != NULL, "%s is not in\n%s", of[k].path, text);
        well_formed(text);
        free(text);
    }
    s = (nb_series){.kind = NB_PLOT_BAND, .n = 1, .x = s.x + 1, .y = s.y, .y2 = s.y2};
    p.x.high = 2; /* a band of one point is a pixel wide, around 80 */
    char *text = drawn(&p, nb_plot_svg);
    ck_assert_ptr_nonnull(strstr(text, " d=\"M79.5 180 L80.5 180 L80.5 90 L79.5 90 Z \""));
    free(text);
}
END_TEST

/* ---- what is refused ------------------------------------------------------------------------- */

static void refused(const nb_plot *p, nb_code code, const char *part)
{
    nb_reason why = {""};
    char *text = NULL;
    size_t size;
    FILE *to = open_memstream(&text, &size);
    said(nb_plot_print(to, p, &why), code, &why, part);
    said(nb_plot_svg(to, p, &why), code, &why, part);
    ck_assert_int_eq(nb_plot_print(to, p, NULL), code);
    fclose(to);
    ck_assert_uint_eq(size, 0);
    free(text);
}

START_TEST(bad_inputs)
{
    const double y[] = {1, 2}, nowhere[] = {none, -1};
    nb_series s = {.name = "s", .n = 2, .y = y};
    nb_plot p = {.n = 1, .series = &s};
    refused(NULL, NB_ERR_ARGUMENT, "the plot is NULL");
    refused(&(nb_plot){.n = 1}, NB_ERR_ARGUMENT, "list of series");
    refused(&(nb_plot){0}, NB_ERR_EMPTY, "nothing to draw: 0 series");
    refused(&(nb_plot){.n = 1, .series = &(nb_series){.y = y}}, NB_ERR_EMPTY, "0 points");
    refused(&(nb_plot){.y.log = true, .n = 1, .series = &(nb_series){.n = 2, .y = nowhere}},
            NB_ERR_EMPTY, "1 series with 2 points");
    p.columns = 1001;
    refused(&p, NB_ERR_ARGUMENT, "1001 columns and 0 rows");
    p.columns = 10;
    refused(&p, NB_ERR_ARGUMENT, "10 columns and 20 rows leave 5 by 17");
    p.columns = 0;
    p.rows = 4;
    refused(&p, NB_ERR_ARGUMENT, "4 rows");
    p.rows = 0;
    p.x = (nb_plot_axis){.low = 2, .high = 1};
    refused(&p, NB_ERR_ARGUMENT, "range of x, 2 to 1");
    p.x = (nb_plot_axis){.low = -1, .high = 1, .log = true};
    refused(&p, NB_ERR_ARGUMENT, "x is logarithmic, but its range begins at -1");
    p.x = (nb_plot_axis){.low = 1, .high = inf};
    refused(&p, NB_ERR_ARGUMENT, "1 to inf");
    p.x = (nb_plot_axis){.log = true};
    s.kind = NB_PLOT_BARS;
    refused(&p, NB_ERR_ARGUMENT, "\"s\", are bars");
    s.kind = NB_PLOT_KINDS;
    refused(&p, NB_ERR_ARGUMENT, "no known kind");
    s.kind = NB_PLOT_BAND;
    refused(&p, NB_ERR_ARGUMENT, "2 points, but no y2");
    s.y = NULL;
    refused(&p, NB_ERR_ARGUMENT, "2 points, but no y");
    nb_heat h = {.rows = 1, .columns = 2, .x = {0, 1}, .y = {1, 1}};
    p = (nb_plot){.heat = &h};
    refused(&p, NB_ERR_ARGUMENT, "1 by 2 has no values");
    h.z = y;
    refused(&p, NB_ERR_ARGUMENT, "reaches in y from 1 to 1");
    h.y[1] = 2;
    p.x.log = true;
    refused(&p, NB_ERR_ARGUMENT, "in x from 0 to 1, on a log");
    h.rows = SIZE_MAX / 4;
    h.columns = 8;
    refused(&p, NB_ERR_OVERFLOW, "too large");
}
END_TEST

START_TEST(streams_and_files)
{
    const nb_series s = {.n = 2, .y = (const double[]){0, 1}};
    const nb_plot p = {.n = 1, .series = &s};
    nb_reason why = {""};
    static char text[1 << 16];
    said(nb_plot_print(NULL, &p, &why), NB_ERR_ARGUMENT, &why, "stream is NULL");
    said(nb_plot_save(NULL, &p, &why), NB_ERR_ARGUMENT, &why, "path is NULL");
    FILE *full = fopen("/dev/full", "w");
    if (full) {
        said(nb_plot_print(full, &p, &why), NB_ERR_FILE, &why, "No space left");
        said(nb_plot_svg(full, &p, &why), NB_ERR_FILE, &why, "did not take");
        fclose(full);
    }
    make_folder();
    char *drawing = drawn(&p, nb_plot_svg);
    fine(nb_plot_save(path("a.svg"), &p, &why), &why);
    text[read_bytes("a.svg", text, sizeof text - 1)] = 0;
    ck_assert_str_eq(text, drawing);
    ck_assert_int_eq(nb_plot_save(path("a.svg"), &(nb_plot){0}, &why), NB_ERR_EMPTY);
    said(nb_plot_save(path("none/a.svg"), &p, &why), NB_ERR_FILE, &why, "none/a.svg");
    text[read_bytes("a.svg", text, sizeof text - 1)] = 0;
    ck_assert_str_eq(text, drawing);
    ck_assert_int_eq(files_in_folder(), 1);
    free(drawing);
    remove_folder();
}
END_TEST

START_TEST(no_memory)
{
    const nb_series s[] = {{.name = "s", .n = 2, .y = (const double[]){0, 1}}, {.n = 0}};
    static double many[2000];
    for (int i = 0; i < 2000; i++)
        many[i] = sin(i);
    const nb_series wave = {.n = 2000, .y = many};
    for (int svg = 0; svg < 2; svg++)
        for (size_t k = 1;; k++) {
            counting c = {.refuse = k};
            nb_reason why = {""};
            char *text = NULL;
            size_t size;
            FILE *to = open_memstream(&text, &size);
            const nb_plot p = {
                .n = 1, .series = svg ? &wave : s, .rows = 60, .allocator = counting_allocator(&c)};
            const nb_code code = (svg ? nb_plot_svg : nb_plot_print)(to, &p, &why);
            fclose(to);
            free(text);
            ck_assert_uint_eq(c.blocks, 0);
            if (!c.refusals) {
                ck_assert(!code && k > 2);
                break;
            }
            said(code, NB_ERR_MEMORY, &why, "no memory");
            ck_assert_uint_eq(size, 0);
        }
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("plot_svg");
    tcase_add_test(c, svg_is_well_formed);
    tcase_add_test(c, svg_paths);
    tcase_add_test(c, bad_inputs);
    tcase_add_test(c, streams_and_files);
    tcase_add_test(c, no_memory);
    return run_case("plot_svg", c);
}
