"""What the tests of executors run in workers' interpreters: importable there and here."""

import os
import threading
import time

import isles

state = None


class Unlucky(Exception):
    """Can be pickled, and never be loaded."""

    def __init__(self, first, second):
        super().__init__(f"{first} {second}")


class Detailed(Exception):
    def __init__(self, code):
        super().__init__(code)
        self.code = code


def nothing():
    pass


def same(x):
    return x


def add(x, y=0, *, z=0):
    return x + y + z


def here():
    return isles.get_current().id


def sleep(seconds):
    time.sleep(seconds)
    return seconds


def set_state(value):
    global state
    state = value


def get_state():
    return state


def count():
    global state
    state = (state or 0) + 1
    return isles.get_current().id, state


def thread_name():
    return threading.current_thread().name


def fail(error):
    raise error


def fail_at(x, bad):
    if x == bad:
        raise ValueError(x)
    return x


def fail_unlucky():
    raise Unlucky(1, 2)


def fail_unpicklable():
    error = ValueError("has a lock")
    error.lock = threading.Lock()
    raise error


def fail_detailed():
    error = Detailed(42)
    error.extra = [1, 2]
    error.add_note("a note")
    raise error


def fail_from():
    try:
        try:
            raise KeyError("inner")
        except KeyError as inner:
            raise LookupError("middle") from inner
    except LookupError:
        raise RuntimeError("outer")


def fail_from_unlucky():
    try:
        raise Unlucky(1, 2)
    except Unlucky as inner:
        raise ValueError("root") from inner


def fail_group():
    try:
        raise OSError(2, "no such thing")
    except OSError as error:
        part = ValueError("part")
        part.__cause__ = error
        raise ExceptionGroup("several", [part, ExceptionGroup("deep", [TypeError("t")])])


def fail_from_itself():
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    raise first


def unshareable():
    return threading.Lock()


def leave(code):
    raise SystemExit(code)


def write(fd, data):
    os.write(fd, data)


def gate(path):
    """Wait for a file."""
    while not os.path.exists(path):
        time.sleep(0.001)


def hoard(count):
    """Keep so many small objects."""
    globals()["hoarded"] = [object() for _ in range(count)]
