"""What tests call in other interpreters by reference: an importable module."""

import functools
import os
import pickle
import sys
import threading
import time

import isles

calls = 0


def count():
    """How often it was called in this interpreter."""
    global calls
    calls += 1
    return calls


def nothing():
    pass


def echo(*args, **kwargs):
    return args, kwargs


def same(value):
    return value


def add(a, b=10, *, c=100):
    return a + b + c


def here():
    return isles.get_current().id


def type_name(value):
    return f"{type(value).__module__}.{type(value).__qualname__}"


def call_in(interp, func, *args):
    """Call from here in one more interpreter."""
    return interp.call(func, *args)


def ping(interp, depth=0):
    """Between main and another one until that is refused; how deep, and the refusal."""
    target = isles.get_main() if isles.get_current() == interp else interp
    try:
        return target.call(ping, interp, depth + 1)
    except (RecursionError, isles.InterpreterError) as error:
        return depth, repr(error)


def relay(interps, func, *args):
    """Through one interpreter after the other, each called from the one before."""
    if interps:
        return interps[0].call(relay, interps[1:], func, *args)
    return func(*args)


def hold(started, release):
    """Stay inside until told otherwise through a pipe."""
    os.write(started, b"x")
    os.read(release, 1)


def keep(*args, **kwargs):
    global keeps
    keeps = args, kwargs, threading.current_thread() is not threading.main_thread()


def kept():
    return keeps


def attempt(func, *args):
    """Call; what it raised as (name of the type, text)."""
    try:
        return func(*args)
    except Exception as error:
        return type(error).__name__, str(error)


def run(source):
    exec(source, {})


def in_main(expression):
    """Its value in this interpreter's __main__."""
    return eval(expression, sys.modules["__main__"].__dict__)


def has_module(name):
    return name in sys.modules


def map_list(func, values):
    return [func(value) for value in values]


def make_list():
    return [1, {"a": (2, None)}]


def make_generator():
    yield 1


def make_lambda():
    return lambda: 42


def boom(text="boom"):
    raise ValueError(text)  # this very line


def raise_it(error):
    raise error


def recurse():
    return recurse() + 1


def nest(depth):
    """A tuple in a tuple in a tuple ..."""
    value = ()
    for _ in range(depth):
        value = (value,)
    return value


def depth_of(value):
    depth = 0
    while value:
        (value,) = value
        depth += 1
    return depth


NESTS = {
    "tuple": lambda inner: (inner,),
    "list": lambda inner: [inner],
    "dict": lambda inner: {"x": inner},
    "frozenset": lambda inner: frozenset([inner]),
    "slice in list": lambda inner: [slice(inner)],
    "all": lambda inner: [({"x": inner},)],
}


def nested(kind, depth):
    value = ()
    for _ in range(depth):
        value = NESTS[kind](value)
    return value


def reduced_to(func, *args):
    """An object that is unpickled by calling func."""
    return Reduced(func, args)


class Reduced:
    def __init__(self, func, args):
        self.reduced = func, args

    def __reduce__(self):
        return self.reduced


class HandsOut:
    """Is pickled as what `reduce` says at that time."""

    def __init__(self, reduce):
        self.reduce = reduce

    def __reduce__(self):
        return self.reduce()


class NoPickle:
    """Refuses to be pickled with whatever it was given."""

    def __init__(self, error):
        self.error = error

    def __reduce__(self):
        raise self.error


class Point:
    def __init__(self, x, y):
        self.x, self.y = x, y

    def __eq__(self, other):
        return isinstance(other, Point) and (self.x, self.y) == (other.x, other.y)

    def __call__(self, factor):
        return Point(self.x * factor, self.y * factor)

    def moved(self, dx, dy=0):
        return Point(self.x + dx, self.y + dy)

    @classmethod
    def origin(cls):
        return cls(0, 0)

    @staticmethod
    def dimensions():
        return 2

    class Inner:
        def name(self):
            return type(self).__qualname__


class Failure(Exception):
    class Inner(Exception):
        pass


class BadStr(Exception):
    def __str__(self):
        raise ZeroDivisionError


class Text(str):
    """A str, but not exactly."""


class OddStr(TypeError):
    """str() of it is a subclass of str."""

    def __str__(self):
        return Text("odd")


def raises_odd():
    raise OddStr


class WithOddCause(TypeError):
    def __str__(self):
        raise OddStr


def no_pickle(error):
    return NoPickle(error)


@functools.cache
def cached(value):
    return [value]


def decorated(func):
    @functools.wraps(func)
    def wrapper(*args):
        return "wrapped", func(*args)

    return wrapper


@decorated
def doubled(value):
    return 2 * value


def touch(buffer):
    memoryview(buffer)[0] = 1
    return buffer


def are_same(one, two=None, *, x=None):
    two = two if x is None else x
    if isinstance(one, list):
        (one,), (two,) = one, two
    return one is two


class Array:
    """Knows how to be pickled, and exports its memory."""

    def __init__(self, data):
        self.data = data

    def __buffer__(self, flags):
        return memoryview(self.data)

    def __reduce_ex__(self, protocol):
        return Array, (pickle.PickleBuffer(memoryview(self)),)


def send_and_keep(make, interp):
    """Keep a view of own memory that has been elsewhere."""
    global keeps
    source = make()
    keeps = interp.call(same, source)
    assert memoryview(source) == keeps


class Noted:
    """Exports memory, and writes to a pipe when that is released."""

    def __init__(self, fd):
        self.fd = fd
        self.data = bytearray(b"noted")

    def __buffer__(self, flags):
        return memoryview(self.data)

    def __release_buffer__(self, view):
        os.write(self.fd, b"r")


def noted(fd):
    return Noted(fd)


class Lingering(Noted):
    def __release_buffer__(self, view):
        super().__release_buffer__(view)
        time.sleep(0.2)


def lingering(fd):
    return Lingering(fd)


def poke(buffer, at=0, value=ord("z")):
    """Write into the memory of what came, and give it back."""
    memoryview(buffer).cast("B")[at] = value
    return buffer


def describe_array(value):
    kind = type(value)
    return kind.__module__, kind.__name__, value.shape, value.strides, str(value.dtype)


def call_method(obj, name, *args):
    return getattr(obj, name)(*args)


def wait_for(queue):
    return queue.get()


def spin(count):
    for _ in range(count):
        pass


def forever(*_):
    while True:
        pass


def catches():
    try:
        while True:
            pass
    except BaseException as error:
        return type(error).__name__, error.args


def calls_on(other, func, *args):
    other.call(func, *args)


def begin(begun, func, *args):
    begun.put(None)
    return func(*args)


def stubborn(seconds):
    """Compute, whatever comes."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            while time.monotonic() < end:
                pass
        except KeyboardInterrupt:
            pass


def late_in_a_pool():
    with isles.InterpreterPoolExecutor(1) as pool:
        late = pool.schedule(forever, timeout=0.1).exception(60)
        return type(late).__name__, pool.schedule(abs, (-7,), timeout=60).result(60)


class Unmakeable(Exception):
    def __reduce__(self):
        return int, ("x",)


class NotItself(Exception):
    def __reduce__(self):
        return int, (5,)


class SlowToPack:
    def __reduce__(self):
        time.sleep(0.3)
        return int, ()
