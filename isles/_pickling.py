"""Pickles inside a message (binding/encode_pickles.c): imported with the first that needs one."""

from __future__ import annotations

import _pickle
import io
import marshal
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:  # `typing` would cost every interpreter more than all the rest
    from collections.abc import Callable
    from typing import Any


class Pickler(_pickle.Pickler):
    """Writes one pickle after another; the later ones know what was in the earlier ones."""

    def __init__(self, file: io.BytesIO, lend: Callable, persistent_id: Callable | None) -> None:
        # Before the base's, which looks for it.
        if persistent_id is not None:
            self.persistent_id = persistent_id  # type: ignore[method-assign]
        super().__init__(file, 5, buffer_callback=lend)


class Unpickler(_pickle.Unpickler):
    def __init__(self, file: io.BytesIO, buffers: Any, persistent_load: Callable) -> None:
        self.persistent_load = persistent_load  # type: ignore[method-assign]
        super().__init__(file, buffers=buffers)


def writer(
    lend: Callable, persistent_id: Callable | None, by_value: bool
) -> tuple[Callable[[object, bool], int], Callable[[], memoryview]]:
    """Give what pickles an object and says where that starts, and what gives all pickles."""
    file = io.BytesIO()
    kind: Any = by_value_pickler() if by_value else Pickler
    dump, tell = kind(file, lend, persistent_id).dump, file.tell

    def dump_at(obj: object, alone: bool) -> int:
        offset = tell()
        (kind(file, lend, persistent_id).dump if alone else dump)(obj)
        return offset

    return dump_at, file.getbuffer


_kind: Any = None


def by_value_pickler() -> type:
    """What pickle can't name elsewhere, things of __main__, lambdas ..., goes by value."""
    global _kind
    if _kind is None:
        import cloudpickle

        from isles import _functions, _pack

        class ByValue(cloudpickle.Pickler):
            def __init__(self, file: Any, lend: Any, persistent_id: Any) -> None:
                if persistent_id is not None:
                    self.persistent_id = persistent_id
                super().__init__(file, 5, buffer_callback=lend)

            def dump(self, obj: object) -> None:
                _pack.check_strictly(obj)
                super().dump(obj)

            def reducer_override(self, obj: Any) -> Any:
                if own := _pack.reduce(obj):
                    return own
                read = _functions.globals_read(obj)
                reduced = super().reducer_override(obj)
                if read and reduced is not NotImplemented:
                    # cloudpickle overlooks what only the body of a class names.
                    reduced[2][1]["__globals__"].update(read)
                return reduced

        _kind = ByValue
    return _kind


def function(code: bytes, name: str, qualname: str) -> object:
    """The copy of a function whose code says all; its globals are those of __main__."""
    kind: Any = type(function)
    copy = kind(marshal.loads(code), vars(sys.modules["__main__"]), name)
    copy.__qualname__ = qualname
    return copy


def cached(func: Callable, maxsize: int | None, typed: bool) -> object:
    import functools

    return functools.lru_cache(maxsize, typed)(func)


class Buffers:
    """An iterator that can be told where to go on."""

    def __init__(self, buffers: list) -> None:
        self.buffers, self.next = buffers, 0

    def __iter__(self) -> Buffers:
        return self

    def __next__(self) -> memoryview:
        self.next += 1
        if self.next > len(self.buffers):
            raise StopIteration
        return self.buffers[self.next - 1]


def reader(
    stream: memoryview, buffers: list, persistent_load: Callable
) -> Callable[[int, int, bool], object]:
    """Give what loads the pickle that starts at an offset; in the order in which they are."""
    file, source = io.BytesIO(stream), Buffers(buffers)
    load, seek = Unpickler(file, source, persistent_load).load, file.seek

    def load_at(offset: int, first: int, alone: bool) -> object:
        seek(offset)
        source.next = first
        return (Unpickler(file, source, persistent_load).load if alone else load)()

    return load_at
