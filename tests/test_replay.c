#include "program.h"
#include "error_is.h"
int main(void){return 0;}
