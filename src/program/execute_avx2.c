/* Code executed in vectors of 32 bytes: execute.inc has it all. */
#define VEC_BYTES 32
#define EXECUTE   nbi_execute_avx2
#include "program/execute.inc"
