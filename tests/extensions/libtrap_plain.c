/* A library that knows nothing of Python: one copy for the whole process. */

static long count;

long
trap_plain_bump(void)
{
    return __atomic_add_fetch(&count, 1, __ATOMIC_RELAXED);
}
