/*
 * Waiting signals. See interrupt.h.
 */
#include "train/interrupt.h"

#include <time.h>

/* A program that ignores a signal, as one in the background of a script does, goes on ignoring it: blocked it
 * would wait all the same. */
static void add(sigset_t *set, int number)
{
    struct sigaction now;
    if (sigaction(number, NULL, &now) || now.sa_handler != SIG_IGN)
        sigaddset(set, number);
}

void nbi_interrupt_block(nbi_interrupt *i, bool wanted)
{
    sigemptyset(&i->stops);
    add(&i->stops, SIGINT);
    add(&i->stops, SIGTERM);
    i->blocked = wanted && !pthread_sigmask(SIG_BLOCK, &i->stops, &i->before);
}

bool nbi_interrupted(const nbi_interrupt *i)
{
    return i->blocked && sigtimedwait(&i->stops, NULL, &(struct timespec){0}) > 0;
}

void nbi_interrupt_allow(const nbi_interrupt *i)
{
    if (i->blocked)
        pthread_sigmask(SIG_SETMASK, &i->before, NULL);
}
