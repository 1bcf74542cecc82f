/* Code executed in vectors of 64 bytes: execute.inc has it all. */
#define VEC_BYTES 64
#define EXECUTE   nbi_execute_avx512
#include "program/execute.inc"
