"""Does each operation twice: for valgrind, under which everything is slow."""

from operations import OPERATIONS, check_works, empty

import isles

interp = isles.create()
queue = isles.create_queue()
for operation in OPERATIONS.values():
    for _ in range(2):
        operation(interp, queue)
        empty(queue)
check_works(interp)
print(len(OPERATIONS), "operations")
