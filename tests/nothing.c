/* A program that does nothing: what is tested is that the objects beside it compile and link. */
int main(void) { return 0; }
