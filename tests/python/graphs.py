"""Object graphs, compared by values, types and identity."""

import struct

ATOMS = (type(None), bool, int, str, bytes, type(...), type(NotImplemented), type)


class Node:
    """Pickled with its attributes; hashable, by identity."""

    def __init__(self, *items):
        self.items = list(items)


class Rows(list):
    """A list, but not exactly."""


class Names(dict):
    pass


class Pair(tuple):
    __slots__ = ()


def parts(value):
    """What it holds, in order; None for what holds nothing."""
    if isinstance(value, dict):
        held = [part for item in value.items() for part in item]
    elif isinstance(value, (list, tuple, set, frozenset)):
        held = list(value)
    elif isinstance(value, (slice, range)):
        held = [value.start, value.stop, value.step]
    else:
        held = []
    if hasattr(value, "__dict__"):
        held.append(vars(value))
    return held


def same_atom(a, b):
    if isinstance(a, float):
        return struct.pack("d", a) == struct.pack("d", b)
    if isinstance(a, complex):
        return same_atom(a.real, b.real) and same_atom(a.imag, b.imag)
    return a == b


def has_identity(value):
    return not isinstance(value, (*ATOMS, float, complex)) and value != ()


def is_view_of(a, b):
    """A bytearray arrives as a memoryview, outside of objects that are pickled."""
    return type(a) is memoryview and type(b) is bytearray


def difference(a, b):
    """Where a graph differs from the one that pickle delivers, as text; None if it doesn't."""
    there, back, to_do = {}, {}, [(a, b, "value")]
    while to_do:
        a, b, way = to_do.pop()
        if type(a) is not type(b) and not is_view_of(a, b):
            return f"{way}: {type(a)} {type(b)}"
        if not has_identity(a):
            if not same_atom(a, b):
                return f"{way}: {a!r:.100} {b!r:.100}"
            continue
        known = id(a) in there
        if there.setdefault(id(a), b) is not b or back.setdefault(id(b), a) is not a:
            return f"{way}: shared in another way"
        if known:
            continue
        if isinstance(b, bytearray) and a != b:
            return f"{way}: {a!r:.100} {b!r:.100}"
        ours, theirs = parts(a), parts(b)
        if len(ours) != len(theirs):
            return f"{way}: {len(ours)} parts, {len(theirs)}"
        for i, pair in enumerate(zip(ours, theirs, strict=True)):
            to_do.append((*pair, f"{way}/{i}"))
    return None
