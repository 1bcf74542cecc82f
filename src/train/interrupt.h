/*
 * Signals that ask to stop, SIGINT and SIGTERM, taken at times of our choosing: blocked on this thread, and
 * looked for among those that are pending. No handler, so nothing that two fits at once would share.
 */
#ifndef NABLA_SRC_TRAIN_INTERRUPT_H
#define NABLA_SRC_TRAIN_INTERRUPT_H

#include <signal.h>
#include <stdbool.h>

typedef struct nbi_interrupt {
    bool blocked;
    sigset_t stops, before; /* before: this thread's mask */
} nbi_interrupt;

/* Not wanted: does nothing, and there will be no interrupt. */
void nbi_interrupt_block(nbi_interrupt *i, bool wanted);
/* Whether one came. It is taken, so that it does not also end the program. */
bool nbi_interrupted(const nbi_interrupt *i);
/* As it was before. A signal that came meanwhile and was not taken acts now. */
void nbi_interrupt_allow(const nbi_interrupt *i);

#endif
