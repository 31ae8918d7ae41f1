"""For all tests: how much memory one may take, and that Ctrl-C works."""

import os
import resource
import signal

# Bytes that a test may take.  One that eats all memory is to fail by name, not to be killed by
# the kernel.  For each anew: every interpreter leaves 2 MB behind on 3.13, and there are thousands.
MEMORY = 8 * 2**30


def pytest_runtest_setup():
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if "LD_PRELOAD" not in os.environ and hard == resource.RLIM_INFINITY:
        # A sanitizer maps terabytes.
        with open("/proc/self/statm") as file:
            taken = int(file.read().split()[5]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_DATA, (taken + MEMORY, hard))


# A shell starts what runs in its background with Ctrl-C ignored, and children inherit that.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
