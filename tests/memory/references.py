"""Does each operation many times, and tells of those after which there are more references.

For debug builds of CPython, which count them: python references.py
"""

import sys

from operations import OPERATIONS, check_works, empty, settle

import isles

REPEATED = 40
TRIES = 40  # the cache of functions is emptied every 1,000 or so
NOISE = 0.5


def references(interp):
    """All there are, in all interpreters."""
    settle(interp)
    return sys.gettotalrefcount()


def growth(operation, interp, queue):
    """How many more after each time; the least of some tries: there are caches that fill up."""
    least = None
    for _ in range(TRIES):
        before = references(interp)
        for _ in range(REPEATED):
            operation(interp, queue)
            empty(queue)
        grown = (references(interp) - before) / REPEATED
        least = grown if least is None else min(least, grown)
        if least < NOISE:
            break
    return least


def main():
    interp = isles.create()
    queue = isles.create_queue()
    growing = {}
    for name, operation in OPERATIONS.items():
        check_works(interp)
        growing[name] = growth(operation, interp, queue)
        print(f"{name}: {growing[name]:.2f} more references each time", flush=True)
    growing = {name: grown for name, grown in growing.items() if grown >= NOISE}
    assert not growing, growing


if __name__ == "__main__":
    main()
