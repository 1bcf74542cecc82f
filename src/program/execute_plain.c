/* Code executed in vectors of 16 bytes: execute.inc has it all. */
#define VEC_BYTES 16
#define EXECUTE   nbi_execute_plain
#include "program/execute.inc"
