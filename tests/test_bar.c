/*
 * The bar for long work, on a terminal of the test's own.
 */
#include "run.h"

#include <fcntl.h>
#include <nabla/plot.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A terminal to write to; what it shows is read from *master. */
static FILE *terminal(int *master)
{
    *master = posix_openpt(O_RDWR | O_NOCTTY);
    if (*master < 0 || grantpt(*master) || unlockpt(*master))
        return NULL;
    return fopen(ptsname(*master), "r+");
}

static void shows(int master, const char *expected)
{
    char text[1024];
    const size_t wanted = strlen(expected);
    size_t n = 0;
    while (n < wanted) {
        const ssize_t more = read(master, text + n, wanted - n);
        ck_assert_int_gt(more, 0);
        n += (size_t)more;
    }
    text[n] = 0;
    ck_assert_str_eq(text, expected);
}

START_TEST(bar_on_a_terminal)
{
    int master;
    FILE *to = terminal(&master);
    if (!to) /* none to be had here */
        return;
    nb_bar b = {.to = to, .label = "train", .ascii = true};
    nb_bar_draw(&b, 0, 48, 0, NULL);
    shows(master, "\rtrain ------------------------ 0 %\x1b[K");
    nb_bar_draw(&b, 1, 48, 0.09, "too soon");
    nb_bar_draw(&b, 12, 48, 10, "loss 0.5\n");
    shows(master, "\rtrain ======------------------ 25 %, 30 s left  loss 0.5?\x1b[K");
    nb_bar_draw(&b, 48, 48, 10.01, "done"); /* the end is always shown */
    shows(master, "\rtrain ======================== 100 %  done\x1b[K");
    nb_bar_clear(&b);
    nb_bar_clear(&b);
    nb_bar_draw(&b, 7, 0, 10.02, NULL); /* and so is the first after a wipe */
    shows(master, "\r\x1b[K\rtrain 7\x1b[K");
    b = (nb_bar){.to = to};
    nb_bar_draw(&b, 1, 2, 400, NULL);
    shows(master, "\r━━━━━━━━━━━━╌╌╌╌╌╌╌╌╌╌╌╌ 50 %, 7 min left\x1b[K");
    char longer[200];
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = 0;
    nb_bar_draw(&b, 1, 0, 500, longer); /* 79 columns, the last of them an ellipsis */
    char line[200];
    snprintf(line, sizeof line, "\r1  %.75s…\x1b[K", longer);
    shows(master, line);
    fclose(to);
    close(master);
}
END_TEST

START_TEST(no_bar_elsewhere)
{
    FILE *to = tmpfile();
    ck_assert_ptr_nonnull(to);
    nb_bar b = {.to = to}, off = {.label = "x"};
    nb_bar_draw(&b, 1, 2, 0, "x");
    nb_bar_clear(&b);
    nb_bar_draw(&off, 1, 2, 0, "x");
    nb_bar_clear(&off);
    nb_bar_draw(NULL, 1, 2, 0, "x");
    nb_bar_clear(NULL);
    ck_assert_int_eq(ftell(to), 0);
    fclose(to);
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("bar");
    tcase_add_test(c, bar_on_a_terminal);
    tcase_add_test(c, no_bar_elsewhere);
    return run_case("bar", c);
}
