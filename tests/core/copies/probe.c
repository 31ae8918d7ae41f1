/* Three libraries of one source, each needing the next: a module that uses Python, a library that
 * doesn't, and one below that does.  Each counts for itself. */
#ifdef BELOW
int BELOW(void);
#endif
#ifdef USES_PYTHON
int PyProbe_Value(void); /* the test's */
#endif

int COUNT(void);
int VALUE(void);

static int count;

int
COUNT(void)
{
    return ++count;
}

int
VALUE(void)
{
    int value = 0;
#ifdef USES_PYTHON
    value += PyProbe_Value();
#endif
#ifdef BELOW
    value += BELOW();
#endif
    return value;
}
