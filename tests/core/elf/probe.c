/* What test_elf_load.c makes copies of: a stand-in for an extension module, with a counter of each
 * kind that a copy has to have for itself. */

int host_value(void); /* the test program's */
int helper_next(void);
int shared_next(void);
int getppid(void);

/* What a C++ compiler makes of an inline variable.  All in assembly, as a C compiler would give it
 * a type of its own. */
__asm__(".pushsection .data\n"
        ".globl probe_unique\n"
        ".type probe_unique, %gnu_unique_object\n"
        ".size probe_unique, 4\n"
        ".balign 4\n"
        "probe_unique:\n"
        ".long 0\n"
        ".popsection\n");
extern int probe_unique;

static int counter;
static int zeroed[100000]; /* bss, which ends beyond the file */
static __thread int of_thread;
static int initialised;

__attribute__((constructor)) static void
initialise(void)
{
    initialised++;
}

int
probe_next(void)
{
    zeroed[sizeof(zeroed) / sizeof(zeroed[0]) - 1]++;
    return ++counter == zeroed[sizeof(zeroed) / sizeof(zeroed[0]) - 1] ? counter : -1;
}

int
probe_thread_next(void)
{
    return ++of_thread;
}

int
probe_unique_next(void)
{
    return ++probe_unique;
}

int
probe_helper_next(void)
{
    return helper_next();
}

int
probe_shared_next(void)
{
    return shared_next();
}

int
probe_host_value(void)
{
    return host_value();
}

int
probe_parent(void)
{
    return getppid();
}

int
probe_initialised(void)
{
    return initialised;
}
