"""Does each operation many times, and tells of those after which there are more references.

For debug builds of CPython, which count them: python references.py
"""

import sys

from operations import OPERATIONS, check_works, empty, growth

import isles

REPEATED = 40
TRIES = 40  # the cache of functions is emptied every 1,000 or so
NOISE = 0.5


def growing_by(operation, interp, queue):
    def do():
        operation(interp, queue)
        empty(queue)

    return growth(sys.gettotalrefcount, interp, do, REPEATED, TRIES, NOISE)


def main():
    interp = isles.create()
    queue = isles.create_queue()
    growing = {}
    for name, operation in OPERATIONS.items():
        check_works(interp)
        growing[name] = growing_by(operation, interp, queue)
        print(f"{name}: {growing[name]:.2f} more references each time", flush=True)
    growing = {name: grown for name, grown in growing.items() if grown >= NOISE}
    assert not growing, growing


if __name__ == "__main__":
    main()
