/* A library that the probe needs, finds by $ORIGIN, and that all copies share. */
static int counter;

int shared_next(void);

int
shared_next(void)
{
    return ++counter;
}
