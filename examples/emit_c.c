/*
 * A gradient printed as C.
 *
 * The Brusselator's reaction, one step of Runge and Kutta long, and what its result says about the
 * state and the rates that it began with: recorded once, frozen, differentiated, printed. The text that
 * appears below is the whole of it: a C file that needs nothing but libm, for a machine without nabla.
 *
 * Where there is a compiler, the file is compiled, loaded and called, and compared with the replay of
 * the same program, lane by lane.
 */
#include <dlfcn.h>
#include <math.h>
#include <nabla.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LANES = 100 };

/* ---- the program ----------------------------------------------------------------------------- */

typedef struct pair {
    nb_var u, v;
} pair;

/* u' = a + u^2 v - (b + 1) u,    v' = b u - u^2 v */
static pair slope(pair y, const nb_var *rate)
{
    const nb_var react = nb_mul(nb_square(y.u), y.v), feed = nb_mul(rate[1], y.u);
    return (pair){nb_sub(nb_sub(nb_add(rate[0], react), feed), y.u), nb_sub(feed, react)};
}

static pair along(pair y, double h, pair k)
{
    return (pair){nb_add(y.u, nb_mul(h, k.u)), nb_add(y.v, nb_mul(h, k.v))};
}

/* How far from (1, 3) a step of the midpoint rule leads. */
static nb_program *distance(void)
{
    nb_tape *t = nb_tape_new(NULL);
    nb_var y[2] = {nb_input(t, "u", 1), nb_input(t, "v", 3)};
    nb_var rate[2] = {nb_input(t, "a", 1), nb_input(t, "b", 3)};
    const pair start = {y[0], y[1]}, half = along(start, 0.05, slope(start, rate));
    const pair end = along(start, 0.1, slope(half, rate));
    nb_var du = nb_sub(end.u, 1), dv = nb_sub(end.v, 3), f = nb_hypot(du, dv);
    nb_program *p = nb_freeze(&(nb_recipe){
        .n_in = 2,
        .in = (nb_argument[]){{.name = "state", .count = 2, .var = y},
                              {.name = "rate", .count = 2, .var = rate, .shared = true}},
        .n_out = 1,
        .out = &(nb_argument){.name = "far", .count = 1, .var = &f}});
    if (!p)
        fprintf(stderr, "%s\n", nb_message(t));
    nb_tape_free(t);
    return p;
}

/* ---- compiling and calling ------------------------------------------------------------------- */

typedef void batch_fn(size_t lanes, const double *state, const double *rate, double *far,
                      double *d_state, double *d_rate);

/* The printed file as a library; NULL if it could not be made. */
static void *compile(const nb_program *p, const char *folder)
{
    char source[80], library[80], command[200];
    snprintf(source, sizeof source, "%s/distance.c", folder);
    snprintf(library, sizeof library, "%s/distance.so", folder);
    FILE *f = fopen(source, "w");
    if (!f)
        return NULL;
    const nb_code code =
        nb_program_emit(p, &(nb_emit){.name = "distance", .batch = true}, f, NULL, NULL);
    fclose(f);
    snprintf(command, sizeof command, "cc -std=c99 -O2 -fPIC -shared %s -o %s -lm", source,
             library);
    return code == NB_OK && system(command) == 0 ? dlopen(library, RTLD_NOW) : NULL;
}

static double worst(const double *a, const double *b, size_t n)
{
    double most = 0;
    for (size_t k = 0; k < n; k++)
        most = fmax(most, fabs(a[k] - b[k]) / (1 + fabs(b[k])));
    return most;
}

static bool agrees(const nb_program *p, batch_fn *f)
{
    double state[2 * LANES], rate[2] = {1, 3}, far[2][LANES], by_state[2][2 * LANES], by_rate[2][2];
    nb_reason why;
    for (int k = 0; k < 2 * LANES; k++)
        state[k] = 2 + sin(k);
    const nb_replay r = {
        .lanes = LANES,
        .in = (nb_lanes[]){{.data = state}, {.data = rate}},
        .out = (nb_lanes[]){{.data = far[0]}, {.data = by_state[0]}, {.data = by_rate[0]}}};
    if (nb_program_run(p, &r, &why) != NB_OK) {
        fprintf(stderr, "%s\n", why.text);
        return false;
    }
    f(LANES, state, rate, far[1], by_state[1], by_rate[1]);
    return worst(far[1], far[0], LANES) < 1e-14 &&
           worst(by_state[1], by_state[0], 2 * LANES) < 1e-14 &&
           worst(by_rate[1], by_rate[0], 2) < 1e-14 * LANES;
}

/* What is said goes to standard error: not every machine has a compiler. */
static bool compiled_agrees(const nb_program *p)
{
    char folder[] = "/tmp/emit_c_XXXXXX", file[80];
    if (system("command -v cc >/dev/null 2>&1") != 0 || !mkdtemp(folder)) {
        fprintf(stderr, "no compiler, or no place to put its work: nothing was compared\n");
        return true;
    }
    bool good = false;
    void *library = compile(p, folder), *at = library ? dlsym(library, "distance_batch") : NULL;
    if (at) {
        batch_fn *f;
        memcpy(&f, &at, sizeof f); /* ISO C has no cast from an object to a function */
        good = agrees(p, f);
    }
    if (library)
        dlclose(library);
    for (int k = 0; k < 2; k++) {
        snprintf(file, sizeof file, "%s/distance.%s", folder, k ? "so" : "c");
        unlink(file);
    }
    rmdir(folder);
    fprintf(stderr, good ? "compiled, loaded, called: the numbers are the replay's\n"
                         : "compiled C and the replay differ\n");
    return good;
}

int main(void)
{
    nb_reason why = {""};
    nb_program *p = distance(), *g = p ? nb_program_gradient(p, NULL, &why) : NULL;
    bool good =
        g && nb_program_emit(g, &(nb_emit){.name = "distance"}, stdout, NULL, &why) == NB_OK;
    if (!good)
        fprintf(stderr, "%s\n", why.text);
    good = good && compiled_agrees(g);
    nb_program_free(g);
    nb_program_free(p);
    return !good;
}
