/*
 * JSON; the contract is in json.h.
 */
#include "data/json.h"

#include "data/file.h"

#include <string.h>

bool nbi_json_fail(nbi_json *j, const char *error)
{
    if (!j->error)
        j->error = error;
    return false;
}

bool nbi_json_next(nbi_json *j, char c)
{
    while (j->at < j->end && (*j->at == ' ' || *j->at == '\t' || *j->at == '\n' || *j->at == '\r'))
        j->at++;
    return !j->error && j->at < j->end && *j->at == c;
}

bool nbi_json_take(nbi_json *j, char c)
{
    if (!nbi_json_next(j, c))
        return nbi_json_fail(j, c == '{'   ? "an object should start here"
                                : c == '}' ? "an object should end or go on here"
                                : c == '[' ? "an array should start here"
                                : c == ']' ? "an array should end or go on here"
                                : c == ':' ? "':' should follow a name"
                                           : "a string should start here");
    j->at++;
    return true;
}

bool nbi_json_open(nbi_json *j, char open, char close)
{
    if (!nbi_json_take(j, open))
        return false;
    if (!nbi_json_next(j, close))
        return !j->error;
    j->at++;
    return false;
}

bool nbi_json_more(nbi_json *j, char close)
{
    if (j->error)
        return false;
    const bool more = nbi_json_next(j, ',');
    if (more)
        j->at++;
    else
        nbi_json_take(j, close);
    return more;
}

/* Four hexadecimal digits at p; -1 if they are none. */
static int32_t four_digits(const char *p, const char *end)
{
    int32_t x = 0;
    if (end - p < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        const char c = p[i];
        const int digit = c >= '0' && c <= '9'   ? c - '0'
                          : c >= 'a' && c <= 'f' ? c - 'a' + 10
                          : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                                 : -1;
        if (digit < 0)
            return -1;
        x = x << 4 | digit;
    }
    return x;
}

static char *put_utf8(char *to, uint32_t c)
{
    const int more = c < 0x80 ? 0 : c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
    static const unsigned char lead[] = {0, 0xc0, 0xe0, 0xf0};
    *to++ = (char)(lead[more] | c >> (6 * more));
    for (int i = more - 1; i >= 0; i--)
        *to++ = (char)(0x80 | (c >> (6 * i) & 0x3f));
    return to;
}

/* What stands behind \u, two surrogates together; half of a pair is an error. */
static bool unicode(nbi_json *j, char **to)
{
    const int32_t first = four_digits(j->at, j->end);
    if (first < 0)
        return nbi_json_fail(j, "\\u without four hexadecimal digits");
    uint32_t c = (uint32_t)first;
    j->at += 4;
    if (c >= 0xd800 && c < 0xdc00 && j->end - j->at >= 6 && j->at[0] == '\\' && j->at[1] == 'u') {
        const int32_t second = four_digits(j->at + 2, j->end);
        if (second >= 0xdc00 && second < 0xe000) {
            c = 0x10000 + ((c - 0xd800) << 10) + ((uint32_t)second - 0xdc00);
            j->at += 6;
        }
    }
    if (c == 0 || (c >= 0xd800 && c < 0xe000))
        return nbi_json_fail(j, "\\u with NUL or half a surrogate pair");
    *to = put_utf8(*to, c);
    return true;
}

static bool escaped(nbi_json *j, char **to)
{
    static const char from[] = "\"\\/bfnrt", plain[] = "\"\\/\b\f\n\r\t";
    if (j->at == j->end)
        return nbi_json_fail(j, "the header ends within a string");
    const char c = *j->at++;
    if (c == 'u')
        return unicode(j, to);
    const char *known = c ? strchr(from, c) : NULL;
    if (!known)
        return nbi_json_fail(j, "an unknown escape in a string");
    *(*to)++ = plain[known - from];
    return true;
}

bool nbi_json_string(nbi_json *j, size_t offset, nbi_json_text *s)
{
    if (!nbi_json_take(j, '"'))
        return false;
    char *to = j->scratch + offset;
    s->text = to;
    s->raw = j->at;
    for (;;) {
        if (j->at == j->end)
            return nbi_json_fail(j, "the header ends within a string");
        const char c = *j->at++;
        if (c == '"')
            break;
        if ((unsigned char)c < 0x20)
            return nbi_json_fail(j, "a control character in a string");
        if (c != '\\')
            *to++ = c;
        else if (!escaped(j, &to))
            return false;
    }
    s->raw_size = (size_t)(j->at - 1 - s->raw);
    s->size = (size_t)(to - s->text);
    *to = 0;
    return nbi_is_utf8(s->text, s->size) || nbi_json_fail(j, "a string that is not UTF-8");
}

bool nbi_json_number(nbi_json *j, int64_t *value)
{
    nbi_json_next(j, 0);
    int64_t x = 0;
    const char *first = j->at;
    for (; !j->error && j->at < j->end && *j->at >= '0' && *j->at <= '9'; j->at++)
        if (__builtin_mul_overflow(x, 10, &x) || __builtin_add_overflow(x, *j->at - '0', &x))
            return nbi_json_fail(j, "a number that is too large");
    if (j->at == first || (*first == '0' && j->at - first > 1))
        return nbi_json_fail(j, "a whole number, not negative, should stand here");
    *value = x;
    return true;
}
