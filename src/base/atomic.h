/*
 * Writing a file so that its place holds the old contents or the new, never a part. The system's calls
 * that can fail for want of space stand in a small table, so that a test can make each of them fail.
 */
#ifndef NABLA_SRC_ATOMIC_H
#define NABLA_SRC_ATOMIC_H

#include <nabla/base.h>
#include <sys/types.h>

typedef struct nbi_disk {
    ssize_t (*write)(int fd, const void *data, size_t size);
    int (*sync)(int fd);
    int (*close)(int fd);
    int (*rename)(const char *from, const char *to);
} nbi_disk;

extern const nbi_disk nbi_real_disk;

/* The pieces one after the other as the file `path`. A file that stands there is replaced and keeps its
 * permissions; a symbolic link is followed. Anything but a regular file is refused. */
nb_code nbi_write_atomic(const nbi_disk *disk, const char *path, size_t n, const nb_piece *pieces,
                         nb_reason *why);

/* Whether there is room for a name there: an empty file is made beside it, and removed. */
nb_code nbi_try_atomic(const char *path, nb_reason *why);

#endif
