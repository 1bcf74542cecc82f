/* Which instruction sets the kernels may use on this machine.
 *
 * Every kernel exists once per instruction set, compiled from one source. The
 * choice is made at run time by asking the processor, so that a library built
 * for generic x86-64 runs as fast as one built for the host. A lower set can be
 * forced by name (the environment variable NABLA_ISA carries such a name), never
 * a higher one: a forced name the machine cannot execute is lowered to the best
 * one it can, so that no value of the variable can end in an illegal instruction.
 *
 * The sets form one ladder per architecture: plain < avx2 < avx512 on x86-64,
 * plain < neon on aarch64. Nothing is cached here: callers keep the answer in
 * their own context, since the library has no global mutable state. */
#ifndef NBI_KERNELS_CPU_H
#define NBI_KERNELS_CPU_H

#include <stdbool.h>

typedef enum { NBI_ISA_PLAIN, NBI_ISA_AVX2, NBI_ISA_AVX512, NBI_ISA_NEON } nbi_isa;
enum { NBI_ISA_COUNT = 4 };

/* The best set that this machine executes and this library was built with. */
nbi_isa nbi_isa_best(void);

/* True when kernels of this set may be called on this machine. */
bool nbi_isa_available(nbi_isa isa);

/* "plain", "avx2", "avx512" or "neon". */
const char *nbi_isa_name(nbi_isa isa);

/* The set to use when `forced` was asked for. NULL, an empty or an unknown text
 * means `best`; a set above `best`, or of another architecture, means `best`. */
nbi_isa nbi_isa_lower(nbi_isa best, const char *forced);

#endif
