/*
 * What the tests of printed C share: a program printed to a file, compiled by a compiler of the system
 * with warnings as errors, loaded, and called.
 */
#ifndef NABLA_TESTS_EMITTED_H
#define NABLA_TESTS_EMITTED_H

#include "program.h"

#include <dlfcn.h>
#include <stdio.h>
#include <unistd.h>

/* Folder for the files; made by a fixture. */
static char emitted_folder[] = "/tmp/nabla_emit_XXXXXX";

static inline void emitted_open(void)
{
    memcpy(emitted_folder + sizeof emitted_folder - 7, "XXXXXX", 7);
    ck_assert(mkdtemp(emitted_folder) != NULL);
}

static inline int emitted_shell(const char *command) { return system(command); }

static inline void emitted_close(void)
{
    char command[80];
    snprintf(command, sizeof command, "rm -r %s", emitted_folder);
    ck_assert_int_eq(emitted_shell(command), 0);
}

/* Under sanitizers it is the printing that is looked at, and one compiler will do. */
#if defined(__SANITIZE_ADDRESS__)
enum { SANITIZED = 1 };
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif
#else
enum { SANITIZED = 0 };
#endif

static inline bool emitted_have(const char *compiler)
{
    char command[80];
    if (SANITIZED && strcmp(compiler, "gcc"))
        return false;
    snprintf(command, sizeof command, "command -v %s >/dev/null 2>&1", compiler);
    return emitted_shell(command) == 0;
}

static inline void emitted_print(const nb_program *p, const nb_emit *options)
{
    char path[2][80];
    nb_reason why = {""};
    FILE *f[2];
    for (int k = 0; k < 2; k++) {
        snprintf(path[k], sizeof path[k], "%s/%s.%c", emitted_folder, options->name, "ch"[k]);
        f[k] = fopen(path[k], "w");
        ck_assert(f[k] != NULL);
    }
    ck_assert_msg(nb_program_emit(p, options, f[0], f[1], &why) == NB_OK, "%s", why.text);
    fclose(f[0]);
    fclose(f[1]);
}

/* The printed file `name`, compiled and loaded. Its header comes first, so that they agree. */
static inline void *emitted_load(const char *name, const char *compiler, const char *flags)
{
    static int count;
    char command[512], library[120];
    snprintf(library, sizeof library, "%s/%s%d.so", emitted_folder, name, count++);
    snprintf(
        command, sizeof command,
        "cd %s && %s -std=c99 -Wall -Wextra -Werror %s -fPIC -shared -include ./%s.h %s.c -o %s "
        "-lm",
        emitted_folder, compiler, flags, name, name, library);
    ck_assert_msg(emitted_shell(command) == 0, "%s", command);
    void *l = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    ck_assert_msg(l != NULL, "%s", dlerror());
    return l;
}

enum { EMITTED_MOST = 8 };

/* Calls a function of the library; all its arguments are pointers, EMITTED_MOST at most, but for the
 * number of lanes, if that is not -1. What it returns, if it has guards. */
static inline int emitted_call(void *library, const char *name, int64_t lanes, void *const *a)
{
    void *at = dlsym(library, name);
    ck_assert_msg(at != NULL, "%s", dlerror());
    if (lanes < 0) {
        int (*f)(void *, void *, void *, void *, void *, void *, void *, void *);
        memcpy(&f, &at, sizeof f);
        return f(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7]);
    }
    int (*f)(size_t, void *, void *, void *, void *, void *, void *, void *, void *);
    memcpy(&f, &at, sizeof f);
    return f((size_t)lanes, a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7]);
}

#endif
