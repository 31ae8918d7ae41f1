"""How an exception is shown in another interpreter than the one that raised it."""

import io
import linecache
import traceback


def display(error: BaseException, sources: dict[str, bytes] | None) -> str:
    """Return the traceback of an exception as the interpreter would print it.

    sources maps the names under which exec() compiled its sources to these.
    """
    sources = sources or {}
    names = _file_names(error, set()) & sources.keys()
    for name in names:
        lines = io.StringIO(sources[name].decode(), newline=None).readlines()
        linecache.cache[name] = (len(lines), None, lines, name)
    try:
        return "".join(traceback.format_exception(error)).rstrip("\n")
    finally:
        for name in names:
            linecache.cache.pop(name, None)


def _file_names(error: BaseException | None, seen: set[int]) -> set[str]:
    """The files in the tracebacks of an exception, of its causes and of its parts."""
    if error is None or id(error) in seen:
        return set()
    seen.add(id(error))
    names = {frame.f_code.co_filename for frame, _ in traceback.walk_tb(error.__traceback__)}
    parts = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    for other in (error.__cause__, error.__context__, *parts):
        names |= _file_names(other, seen)
    return names
