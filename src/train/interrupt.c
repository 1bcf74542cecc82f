/*
 * Waiting signals. See interrupt.h.
 */
#include "train/interrupt.h"

#include <time.h>

void nbi_interrupt_block(nbi_interrupt *i, bool wanted)
{
    sigemptyset(&i->stops);
    sigaddset(&i->stops, SIGINT);
    sigaddset(&i->stops, SIGTERM);
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
