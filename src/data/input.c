/*
 * Reading; the contract is in input.h.
 */
#include "data/input.h"

#include "base/reason.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BUFFER = 1 << 16 };

static nb_code open_regular(nbi_input *in, const char *path, nb_reason *why)
{
    struct stat s;
    in->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe must not make us wait */
    if (in->fd < 0)
        return nbi_because(why, NB_ERR_FILE, "%.150s: cannot open: %s", path, strerror(errno));
    if (fstat(in->fd, &s))
        return nbi_because(why, NB_ERR_FILE, "%.150s: cannot read: %s", path, strerror(errno));
    if (!S_ISREG(s.st_mode))
        return nbi_because(why, NB_ERR_FILE, "%.150s: cannot read: not a regular file", path);
    in->size = (uint64_t)s.st_size;
    return NB_OK;
}

nb_code nbi_input_open(nbi_input *in, nbi_heap *heap, const char *path, nb_reason *why)
{
    *in = (nbi_input){.heap = heap, .fd = -1};
    if (!path || !*path)
        return nbi_because(why, NB_ERR_ARGUMENT, "open a file: no path");
    nb_code code = open_regular(in, path, why);
    if (code) {
        nbi_input_close(in);
        return code;
    }
    in->path_size = strlen(path) + 1;
    in->path = nbi_resize(heap, NULL, 0, in->path_size);
    in->buffer = nbi_resize(heap, NULL, 0, BUFFER);
    if (in->path && in->buffer) {
        memcpy(in->path, path, in->path_size);
        return NB_OK;
    }
    nbi_input_close(in);
    return nbi_because(why, NB_ERR_MEMORY, "%.150s: no memory to read it", path);
}

void nbi_input_memory(nbi_input *in, const char *text, size_t size)
{
    *in = (nbi_input){.fd = -1, .size = size, .next = size, .have = size};
    in->buffer =
        (uint8_t *)(uintptr_t)text; /* read only, as all buffers are but in nbi_input_fill */
}

void nbi_input_close(nbi_input *in)
{
    if (!in->heap)
        return;
    if (in->fd >= 0)
        close(in->fd);
    nbi_resize(in->heap, in->path, in->path ? in->path_size : 0, 0);
    nbi_resize(in->heap, in->buffer, in->buffer ? BUFFER : 0, 0);
    *in = (nbi_input){.fd = -1};
}

nb_code nbi_input_failure(const nbi_input *in, nb_reason *why)
{
    return nbi_because(why, NB_ERR_FILE, "%.150s: cannot read: %s", in->path, strerror(errno));
}

/* Bytes read, or -1: size, unless the file ends. */
static int64_t read_some(const nbi_input *in, uint64_t offset, size_t size, uint8_t *to)
{
    enum { MOST = 1 << 30 };
    size_t done = 0;
    while (done < size) {
        const size_t ask = size - done < MOST ? size - done : MOST;
        const ssize_t n = pread(in->fd, to + done, ask, (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        if (n == 0)
            break;
        done += (size_t)n;
    }
    return (int64_t)done;
}

nb_code nbi_input_read(nbi_input *in, uint64_t offset, size_t size, void *to, nb_reason *why)
{
    if (offset <= in->size && size <= in->size - offset) {
        const int64_t n = read_some(in, offset, size, to);
        if (n < 0)
            return nbi_input_failure(in, why);
        if ((uint64_t)n == size)
            return NB_OK;
    }
    return nbi_because(why, NB_ERR_FORMAT,
                       "%.120s: truncated: %llu bytes at offset %llu are wanted, the file has %llu",
                       in->path, (unsigned long long)size, (unsigned long long)offset,
                       (unsigned long long)in->size);
}

void nbi_input_seek(nbi_input *in, uint64_t offset)
{
    in->next = offset;
    in->at = in->have = 0;
    in->failed = false;
}

bool nbi_input_fill(nbi_input *in)
{
    if (in->fd < 0 || in->failed)
        return false;
    const int64_t n = read_some(in, in->next, BUFFER, in->buffer);
    in->failed = n < 0;
    in->at = 0;
    in->have = n > 0 ? (size_t)n : 0;
    in->next += in->have;
    return in->have > 0;
}
