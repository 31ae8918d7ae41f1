"""What each interpreter has for itself, and what it may not do."""

import codecs
import os
import sys
import threading
import time
import warnings

import far
import pytest

import isles


@pytest.fixture(params=[True, False], ids=["isolated", "shared"])
def either(request):
    """An interpreter of either configuration."""
    with isles.create(isolated=request.param) as interp:
        yield interp


def main_of(interp, name):
    return interp.call(far.in_main, name)


# ---- modules, sys, builtins, codecs ----


def test_own_modules(either):
    either.exec("import types, sys; sys.modules['made_there'] = types.ModuleType('made_there')")
    assert either.call(far.has_module, "made_there") is True
    assert "made_there" not in sys.modules
    assert either.call(far.has_module, "pytest") is False
    with isles.create() as other:
        assert other.call(far.has_module, "made_there") is False


def test_own_main(either):
    either.exec("secret = 1")
    assert not hasattr(sys.modules["__main__"], "secret")
    with isles.create() as other, pytest.raises(isles.ExecutionFailed, match="NameError"):
        other.exec("secret")


def test_own_builtins(either):
    either.exec("import builtins; builtins.secret = 1; builtins.len = None")
    with pytest.raises(NameError):
        secret  # noqa: F821
    assert len("abc") == 3
    with isles.create() as other:
        other.exec("assert len('abc') == 3")


def test_path_is_a_copy(monkeypatch):
    monkeypatch.syspath_prepend("/made/up/first")
    expected = list(sys.path)
    with isles.create() as interp, isles.create(isolated=False) as other:
        for each in (interp, other):
            each.exec("import sys; path = list(sys.path); sys.path.insert(0, '/only/there')")
            assert main_of(each, "path") == expected
        sys.path.insert(0, "/only/here")
        assert main_of(interp, "sys.path") == ["/only/there", *expected]


def test_path_without_what_is_no_text(monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path, b"/bytes", None, 5, "/last", "/sürrö\udc80"])
    with isles.create() as interp:
        interp.exec("import sys; path = list(sys.path)")
        assert main_of(interp, "path")[-2:] == ["/last", "/sürrö\udc80"]


def test_path_comes_from_the_creator(interp):
    interp.exec(
        """if True:
        import sys
        sys.path.append("/from/there")
        import isles
        with isles.create() as child:
            child.exec("import sys")
            path = child.call(eval, "__import__('sys').path", {})
        """
    )
    assert main_of(interp, "path")[-1] == "/from/there"
    assert "/from/there" not in sys.path


REGISTER = """
import codecs
def search(name):
    if name == {name!r}:
        return codecs.CodecInfo(codecs.ascii_encode, codecs.ascii_decode, name=name)
codecs.register(search)
codecs.lookup({name!r})
"""


def test_own_codec_registry(either):
    either.exec(REGISTER.format(name="from_there"))
    with pytest.raises(LookupError):
        codecs.lookup("from_there")
    namespace = {}
    exec(REGISTER.format(name="from_here"), namespace)
    try:
        with pytest.raises(isles.ExecutionFailed, match="LookupError: unknown encoding: from_here"):
            either.exec("codecs.lookup('from_here')")
    finally:
        codecs.unregister(namespace["search"])
    with isles.create() as other, pytest.raises(isles.ExecutionFailed, match="LookupError"):
        other.exec("import codecs; codecs.lookup('from_there')")
    either.exec("codecs.lookup('from_there')")


def test_own_error_handlers(either):
    either.exec("import codecs; codecs.register_error('from_there', codecs.ignore_errors)")
    with pytest.raises(LookupError):
        codecs.lookup_error("from_there")


def test_own_settings_of_sys(either):
    limit = sys.getrecursionlimit()
    either.exec("import sys; sys.setrecursionlimit(345); sys.excepthook = None; sys.marker = 1")
    assert sys.getrecursionlimit() == limit
    assert sys.excepthook is not None
    assert not hasattr(sys, "marker")
    either.exec("assert sys.getrecursionlimit() == 345")


def test_own_warning_filters(either):
    before = list(warnings.filters)
    either.exec("import warnings; warnings.simplefilter('error')")
    assert warnings.filters == before


def test_own_interned_and_immortal_things_do_not_mix(either):
    """Strings, names and small ints of an ended interpreter are not used by others."""
    names = [f"name_{i}" for i in range(200)]
    either.prepare_main({name: name for name in names})
    either.exec("import sys; kept = [sys.intern(n) for n in list(globals())]")
    with isles.create() as other:
        other.prepare_main({name: name for name in names})
    assert {name: main_of(either, name) for name in names[:5]} == {n: n for n in names[:5]}


# ---- the GIL ----


class Pipe:
    def __init__(self):
        self.read, self.write = os.pipe()

    def close(self):
        os.close(self.read)
        os.close(self.write)


def poll_with_the_gil(started, release, timeout):
    """Wait for input and never let go of the GIL: whether there was any in time."""
    import ctypes
    import select
    import sys

    class Pollfd(ctypes.Structure):
        _fields_ = [("fd", ctypes.c_int), ("events", ctypes.c_short), ("revents", ctypes.c_short)]

    libc = ctypes.PyDLL(None)
    pollfd = Pollfd(release, select.POLLIN, 0)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1000)
    libc.write(started, b"x", 1)
    found = libc.poll(ctypes.byref(pollfd), 1, timeout)
    sys.setswitchinterval(before)
    return found


@pytest.mark.parametrize(("isolated", "timeout", "expected"), [(True, 60_000, 1), (False, 500, 0)])
def test_gil(isolated, timeout, expected):
    """While another interpreter holds its GIL for good, this one goes on if it has its own."""
    started, release = Pipe(), Pipe()
    found = []
    with isles.create(isolated=isolated) as interp:
        thread = threading.Thread(
            target=lambda: found.append(
                interp.call(poll_with_the_gil, started.write, release.read, timeout)
            )
        )
        thread.start()
        os.read(started.read, 1)
        os.write(release.write, b"x")
        thread.join()
    started.close()
    release.close()
    assert found == [expected]


def test_isolated_ones_run_at_the_same_time(interp):
    """Two wait for each other, each without letting go of its GIL."""
    first, second = Pipe(), Pipe()
    found = {}
    with isles.create() as other:
        jobs = {interp: (first.write, second.read), other: (second.write, first.read)}
        threads = [
            threading.Thread(
                target=lambda each=each, fds=fds: found.update(
                    {each.id: each.call(poll_with_the_gil, *fds, 60_000)}
                )
            )
            for each, fds in jobs.items()
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == {interp.id: 1, other.id: 1}
    first.close()
    second.close()


def test_other_threads_run_during_a_call(either):
    """The calling interpreter's GIL is free (with a shared one, when the callee waits)."""
    started, release = Pipe(), Pipe()
    helper = threading.Thread(
        target=lambda: (os.read(started.read, 1), os.write(release.write, b"x"))
    )
    helper.start()
    either.call(far.hold, started.write, release.read)
    helper.join()
    started.close()
    release.close()


# ---- what is refused ----


@pytest.mark.parametrize(
    "source",
    [
        "os.fork()",
        "os.execv('/bin/true', ['true'])",
        "os.execve('/bin/true', ['true'], {})",
        "threading.Thread(target=print, daemon=True).start()",
    ],
)
def test_isolated_one_refuses(source, interp):
    with pytest.raises(isles.ExecutionFailed) as excinfo:
        interp.exec(f"import os, threading\n{source}")
    info = excinfo.value.excinfo
    assert info.type.__name__ == "RuntimeError"
    assert any(word in info.msg for word in ("not supported", "disabled"))
    assert interp.call(far.here) == interp.id


def test_daemon_thread_where_it_is_allowed():
    """Only with isolated=False; and close() won't pull the rug from under it."""
    with isles.create(isolated=False) as interp:
        started, release = Pipe(), Pipe()
        interp.prepare_main(fds=(started.write, release.read))
        interp.exec(
            """if True:
            import far, threading
            thread = threading.Thread(target=far.hold, args=fds, daemon=True)
            thread.start()
            """
        )
        os.read(started.read, 1)
        with pytest.raises(isles.InterpreterBusyError, match="threads"):
            interp.close()
        assert interp.call(far.here) == interp.id
        os.write(release.write, b"x")
        interp.exec("thread.join()")
    started.close()
    release.close()


def test_threads_are_allowed(either):
    either.exec(
        """if True:
        import threading
        found = []
        threads = [threading.Thread(target=found.append, args=(i,)) for i in range(5)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        """
    )
    assert sorted(main_of(either, "found")) == list(range(5))


def test_single_phase_extension(either):
    """Refused only where CPython's own rules are asked for."""
    name = "_testsinglephase"
    pytest.importorskip(name)
    either.exec(f"import {name}")
    with isles.create(extensions="strict") as strict:
        with pytest.raises(isles.ExecutionFailed, match="does not support loading in subinter"):
            strict.exec(f"import {name}")


def test_signals_stay_with_main(either):
    with pytest.raises(isles.ExecutionFailed, match="ValueError: signal only works in main thread"):
        either.exec("import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)")


def test_clock_and_process_are_the_same(either):
    before = time.monotonic()
    assert before <= either.call(time.monotonic) <= time.monotonic()
    assert either.call(os.getpid) == os.getpid()
