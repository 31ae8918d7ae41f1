/* A library that the probe needs and that is copied with it. */
static int counter;

int helper_next(void);

int
helper_next(void)
{
    return ++counter;
}
