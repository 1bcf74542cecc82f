/*
 * A folder of its own for a test's files, gone when the test ends. `path` names a file in it.
 */
#ifndef NABLA_TESTS_FOLDER_H
#define NABLA_TESTS_FOLDER_H

#include "reason.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[64];

static inline void make_folder(void)
{
    strcpy(folder, "/tmp/nabla_test_XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
}

/* Up to four names are good at a time. */
static inline const char *path(const char *name)
{
    static char text[4][400];
    static int next;
    char *p = text[next++ % 4];
    snprintf(p, sizeof text[0], "%s/%s", folder, name);
    return p;
}

static inline int files_in_folder(void)
{
    int n = 0;
    DIR *d = opendir(folder);
    for (struct dirent *e; d && (e = readdir(d));)
        n += e->d_name[0] != '.';
    if (d)
        closedir(d);
    return n;
}

static inline void remove_folder(void)
{
    DIR *d = opendir(folder);
    for (struct dirent *e; d && (e = readdir(d));)
        if (e->d_name[0] != '.')
            unlink(path(e->d_name));
    if (d)
        closedir(d);
    rmdir(folder);
}

static inline void write_bytes(const char *name, const void *data, size_t size)
{
    FILE *f = fopen(path(name), "wb");
    ck_assert(f && fwrite(data, 1, size, f) == size);
    fclose(f);
}

static inline void write_text(const char *name, const char *text)
{
    write_bytes(name, text, strlen(text));
}

/* At most `room` bytes of a file; how many there are. */
static inline size_t read_bytes(const char *name, void *data, size_t room)
{
    FILE *f = fopen(path(name), "rb");
    const size_t n = f ? fread(data, 1, room, f) : 0;
    if (f)
        fclose(f);
    return n;
}

#endif
