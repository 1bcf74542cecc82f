/*
 * Bundle adjustment's Jacobian printed as C, beside its replay.
 *
 * The program of programs_ba.c is printed as a function over a batch that takes cameras and points by
 * index, compiled by gcc -O3 for this machine, and loaded. Both write residuals and Jacobian of all
 * observations; the figure is how much of the replay's time the compiled function takes.
 */
#include "programs_ba.h"

#include <dlfcn.h>
#include <nabla/emit.h>

enum { TIMES = 41 };

typedef void batch_fn(size_t lanes, const double *camera, const int64_t *at_camera,
                      const double *point, const int64_t *at_point, const double *weight,
                      const int64_t *at_weight, const double *feat, const int64_t *at_feat,
                      double *e, double *J);

static void replay(bundle *b)
{
    const nb_lanes in[] = {rows_of(b->camera, b->at_camera), rows_of(b->point, b->at_point),
                           dense(b->weight), dense(b->feat)};
    programs_run(b->residual, SEEN, in, (nb_lanes[]){dense(b->e), dense(b->nabla)});
}

static void compiled(batch_fn *f, bundle *b, double *e, double *J)
{
    f(SEEN, b->camera, b->at_camera, b->point, b->at_point, b->weight, NULL, b->feat, NULL, e, J);
}

/* Prints and compiles in a folder of its own, which is gone once the library is loaded. */
static void *load(const nb_program *p)
{
    char folder[] = "/tmp/nabla_emit_XXXXXX", path[2][80], command[320];
    if (!mkdtemp(folder))
        return NULL;
    for (int k = 0; k < 2; k++)
        snprintf(path[k], sizeof path[k], "%s/ba.%s", folder, k ? "so" : "c");
    FILE *f = fopen(path[0], "w");
    const nb_emit how = {.name = "ba", .dtype = NB_F64, .batch = true, .index = true};
    bool good = f && nb_program_emit(p, &how, f, NULL, NULL) == NB_OK;
    good = f && fclose(f) == 0 && good;
    snprintf(command, sizeof command, "gcc -O3 -march=native -fPIC -shared %s -o %s -lm", path[0],
             path[1]);
    void *library = good && system(command) == 0 ? dlopen(path[1], RTLD_NOW) : NULL;
    for (int k = 0; k < 2; k++)
        unlink(path[k]);
    rmdir(folder);
    return library;
}

static void time_both(bundle *b, batch_fn *f, double *e, double *J, bool quick)
{
    double spent[2][TIMES];
    const size_t times = quick ? 9 : TIMES;
    for (size_t k = 0; k < times; k++) {
        const double start = bench_now();
        replay(b);
        const double half = bench_now();
        compiled(f, b, e, J);
        spent[0][k] = half - start;
        spent[1][k] = bench_now() - half;
    }
    const double by_replay = bench_median(spent[0], times), by_c = bench_median(spent[1], times);
    bench_line("programs", "emitted_ba", "over_replay", by_c / by_replay, "x", "<=0.9");
    bench_line("programs", "emitted_ba", "replay_ms", 1e3 * by_replay, "ms", "-");
}

bool bench_emitted(bool quick)
{
    bundle b;
    if (system("command -v gcc >/dev/null 2>&1") != 0) {
        fprintf(stderr, "programs: emitted_ba is left out: there is no gcc\n");
        return true;
    }
    ba_open(&b);
    ba_make(&b);
    double *e = bench_numbers(2 * SEEN), *J = bench_numbers(BLOCK * SEEN);
    void *library = load(b.residual), *at = library ? dlsym(library, "ba_batch") : NULL;
    bool ok = at != NULL;
    if (ok) {
        batch_fn *f;
        memcpy(&f, &at, sizeof f); /* ISO C has no cast from an object to a function */
        replay(&b);
        compiled(f, &b, e, J);
        ok = bench_agree("emitted ba", 2 * SEEN, e, b.e, 1e-12) &&
             bench_agree("emitted ba, Jacobian", BLOCK * SEEN, J, b.nabla, 1e-12);
        if (ok)
            time_both(&b, f, e, J, quick);
    } else {
        fprintf(stderr, "programs: the printed C could not be compiled and loaded\n");
    }
    if (library)
        dlclose(library);
    free(J);
    free(e);
    ba_close(&b);
    return ok;
}
