/*
 * The order of steps is what makes it safe:
 *
 *     1. write a new file under another name in the same folder
 *     2. sync it: its bytes are on the disk before any name leads to them
 *     3. rename it over the old one, which the system does in one step
 *     4. sync the folder: the new name is on the disk too
 *
 * A failure before 3 removes the new file, and the old one was never touched. After 3 the new file is in
 * place; if 4 fails, the caller is told that a power cut might still bring the old one back.
 *
 * The other name is the place's with the process's number and a counter at its end, opened so that it
 * must not exist: two writers of one place each write a file of their own, and the last one wins.
 */
#include "base/atomic.h"

#include "base/reason.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

const nbi_disk nbi_real_disk = {write, fsync, close, rename};

typedef struct target {
    char path[PATH_MAX], folder[PATH_MAX], temporary[PATH_MAX];
    mode_t mode; /* of the file that stands there; 0: none does */
} target;

static nb_code failed(nb_reason *why, const char *path, const char *what)
{
    return nbi_because(why, NB_ERR_FILE, "%.120s: %s: %s", path, what, strerror(errno));
}

static nb_code too_long(nb_reason *why, const char *path)
{
    return nbi_because(why, NB_ERR_FILE, "%.120s: the path is too long", path);
}

/* Follows links, and splits off the folder. */
static nb_code aim(target *t, const char *path, nb_reason *why)
{
    struct stat s;
    t->mode = 0;
    if (!realpath(path, t->path)) {
        if (errno != ENOENT)
            return failed(why, path, "cannot save");
        if (strlen(path) >= sizeof t->path)
            return too_long(why, path);
        strcpy(t->path, path);
    } else if (stat(t->path, &s)) {
        return failed(why, path, "cannot save");
    } else if (!S_ISREG(s.st_mode)) {
        return nbi_because(why, NB_ERR_FILE, "%.120s: cannot save: not a regular file", path);
    } else {
        t->mode = s.st_mode & 07777;
    }
    strcpy(t->folder, t->path);
    char *slash = strrchr(t->folder, '/');
    if (!slash)
        strcpy(t->folder, ".");
    else
        slash[slash == t->folder] = 0;
    return NB_OK;
}

static int open_temporary(target *t, nb_reason *why)
{
    for (int k = 0; k < 100; k++) {
        const int n = snprintf(t->temporary, sizeof t->temporary, "%s.%ld.%d.tmp", t->path,
                               (long)getpid(), k);
        if (n < 0 || (size_t)n >= sizeof t->temporary) {
            too_long(why, t->path);
            return -1;
        }
        const int fd = open(t->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd >= 0 || errno != EEXIST) {
            if (fd < 0)
                failed(why, t->path, "cannot write beside it");
            return fd;
        }
    }
    failed(why, t->path, "cannot write beside it");
    return -1;
}

static bool write_all(const nbi_disk *disk, int fd, const nb_piece *piece)
{
    enum { MOST = 1 << 30 }; /* some systems refuse more at once */
    const char *p = piece->data;
    for (size_t left = piece->size; left;) {
        const ssize_t n = disk->write(fd, p, left < MOST ? left : MOST);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            errno = n ? errno : ENOSPC;
            return false;
        }
        p += n;
        left -= (size_t)n;
    }
    return true;
}

/* Steps 1 and 2. */
static nb_code write_temporary(const nbi_disk *disk, target *t, size_t n, const nb_piece *pieces,
                               nb_reason *why)
{
    const int fd = open_temporary(t, why);
    if (fd < 0)
        return NB_ERR_FILE;
    bool good = !t->mode || !fchmod(fd, t->mode);
    for (size_t i = 0; i < n && good; i++)
        good = write_all(disk, fd, &pieces[i]);
    good = good && !disk->sync(fd);
    const int first = errno;
    const bool closed = !disk->close(fd);
    if (good && closed)
        return NB_OK;
    errno = good ? errno : first;
    nb_code code = failed(why, t->path, "cannot save, what stood there is as it was");
    unlink(t->temporary);
    return code;
}

/* Step 4. Some file systems cannot sync a folder, and say EINVAL: nothing more can be done there. */
static nb_code sync_folder(const nbi_disk *disk, const target *t, nb_reason *why)
{
    const int fd = open(t->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return errno == EACCES ? NB_OK
                               : failed(why, t->path, "saved, but its folder is not synced");
    const bool good = !disk->sync(fd) || errno == EINVAL;
    nb_code code = good ? NB_OK : failed(why, t->path, "saved, but its folder is not synced");
    close(fd);
    return code;
}

nb_code nbi_write_atomic(const nbi_disk *disk, const char *path, size_t n, const nb_piece *pieces,
                         nb_reason *why)
{
    target t;
    if (!path || !*path || (n && !pieces))
        return nbi_because(why, NB_ERR_ARGUMENT, "write a file: no path or no pieces");
    nb_code code = aim(&t, path, why);
    if (!code)
        code = write_temporary(disk, &t, n, pieces, why);
    if (code)
        return code;
    if (disk->rename(t.temporary, t.path)) {
        code = failed(why, path, "cannot save, what stood there is as it was");
        unlink(t.temporary);
        return code;
    }
    return sync_folder(disk, &t, why);
}

nb_code nbi_try_atomic(const char *path, nb_reason *why)
{
    target t;
    nb_code code = aim(&t, path, why);
    const int fd = code ? -1 : open_temporary(&t, why);
    if (fd < 0)
        return code ? code : NB_ERR_FILE;
    close(fd);
    unlink(t.temporary);
    return NB_OK;
}
