"""Does one operation again and again, each time with a later allocation failing, until none fails.

Run with failing_malloc.c, compiled, preloaded: python failing.py OPERATION.  Those fail that isles
asks for itself.
After each failure the interpreter has to work, and when all is done nothing may be left behind.
"""

import collections
import itertools
import re
import sys
from pathlib import Path

import failing_malloc
from operations import OPERATIONS, check_works, empty, growth, settle

import isles
from isles import _interpreters

REPEATED = 20

# How many calls below isles an allocation still fails; 4 where nothing is said.  Without memory
# CPython itself aborts where it makes an interpreter; and its loop corrupts the heap where it can't
# make a function object (PyFunction_NewWithQualName, seen on 3.13 and 3.14): that is 4 calls below
# if the compiler has left some out.
DEPTHS = {"create_close": 1, "call_pickled": 3, "call_by_value": 3}


def code_of(path):
    """Where the code of a shared object lies."""
    maps = Path("/proc/self/maps").read_text()
    ranges = re.findall(rf"^(\w+)-(\w+) r-xp .*{path}$", maps, re.MULTILINE)
    return tuple(int(end, 16) for end in ranges[0])


def attempt(operation, n, *args):
    """Do it with the n-th allocation failing; what it raised, or None, and whether one failed.

    The exception is not kept: CPython has a last MemoryError to give when there is no memory for
    another, and what its traceback holds stays.
    """
    try:
        failing_malloc.arm(n)
        operation(*args)
    except BaseException as caught:
        failed = failing_malloc.disarm()
        return f"{type(caught).__name__}: {caught}", failed
    return None, failing_malloc.disarm()


def left_behind(operation, n, interp, queue):
    """What is more alive after each time that the n-th allocation failed."""

    def do():
        attempt(operation, n, interp, queue)
        empty(queue)

    return growth(failing_malloc.alive, interp, do, REPEATED, tries=3, enough=0.5)


def until_none_fails(operation, interp, queue):
    """The number of allocations, what was raised and how often, and those that left something."""
    raised = collections.Counter()
    leaking = []
    settle(interp)
    usual = left_behind(operation, 0, interp, queue)
    for n in itertools.count(1):
        error, failed = attempt(operation, n, interp, queue)
        if not failed:
            assert error is None, f"without a failed allocation: {error}"
            return n - 1, raised, leaking
        if error and "MemoryError" not in error:
            print(f"{n}: {error}", file=sys.stderr)
        raised[str(error).partition(":")[0]] += 1
        empty(queue)
        check_works(interp)
        # Some is CPython's: what an interpreter leaves that ended.
        if left_behind(operation, n, interp, queue) > usual + 0.5:
            leaking.append(n)


def main():
    operation = OPERATIONS[sys.argv[1]]
    depth = DEPTHS.get(sys.argv[1], 4)
    isles_code = code_of(re.escape(_interpreters.__file__))
    failing_malloc.code(isles_code, code_of(r"/ld-linux[^/]*"), depth)
    interp = isles.create()
    queue = isles.create_queue()
    for _ in range(3):
        operation(interp, queue)
        check_works(interp)
    count, raised, leaking = until_none_fails(operation, interp, queue)
    print(f"{count} allocations, {dict(raised)}")
    assert not leaking, f"left something behind each time: {leaking}"


if __name__ == "__main__":
    main()
