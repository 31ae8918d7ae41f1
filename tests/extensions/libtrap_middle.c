/* A library that doesn't use Python, but needs one that does. */

void trap_keep(void *object);
void *trap_kept(void);

/* Wherever the dynamic linker found them. */
void (*trap_middle_keep(void))(void *)
{
    return trap_keep;
}

void *(*trap_middle_kept(void))(void)
{
    return trap_kept;
}
