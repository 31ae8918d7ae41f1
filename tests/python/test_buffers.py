"""Memory that several interpreters see: what exports a buffer arrives as a view of the same."""

import ctypes
import os
import select
import sys
import textwrap
import threading

import far
import pytest

import isles

# ---- what is refused ----


class Origin(ctypes.Structure):
    _fields_ = [("Origin", ctypes.c_int), ("O", ctypes.c_double)]


class Holder(ctypes.Structure):
    _fields_ = [("x", ctypes.c_int), ("held", ctypes.py_object)]


def test_field_names_are_no_types(interp):
    source = (Origin * 3)()
    view = interp.call(far.same, memoryview(source))
    assert view.format == memoryview(source).format
    assert view.nbytes == ctypes.sizeof(source)


def test_elements_that_are_objects(interp):
    for kind in (Holder, ctypes.py_object):
        with pytest.raises(isles.NotShareableError, match=r"^args\[1\]\[0\]: .*Python objects"):
            interp.call(far.echo, 1, [memoryview((kind * 2)())])


# ---- what a base says ----


class OwnBase(bytearray):
    @property
    def base(self):
        return self


class ReleasedBase(bytearray):
    @property
    def base(self):
        gone = memoryview(OwnBase(100_000))
        gone.release()
        return gone


class FailingBase(bytearray):
    @property
    def base(self):
        raise ZeroDivisionError


@pytest.mark.parametrize("kind", [OwnBase, ReleasedBase, FailingBase])
def test_odd_bases(kind, interp):
    source = kind(b"abc")
    view = interp.call(far.same, memoryview(source))
    view[0] = ord("x")
    assert source == b"xbc"


# ---- interpreters that isles didn't make ----

FOREIGN = """
import sys
sys.path[:] = {path}
import pickle
import far, isles
interp = isles.Interpreter({id})
"""


@pytest.fixture(params=["isolated", "legacy"])
def foreign(interp, request):
    """Run source in an interpreter of the standard library's, with `interp` at hand."""
    std = pytest.importorskip("_interpreters")
    id = std.create(request.param)

    def run(source):
        failed = std.exec(id, FOREIGN.format(id=interp.id, path=sys.path) + textwrap.dedent(source))
        assert failed is None, failed.formatted

    yield run
    std.destroy(id)


def test_foreign_memory_is_copied(foreign, interp):
    """Nobody tells isles when such an interpreter ends."""
    foreign(
        """
        source = bytearray(b"abc")
        interp.call(far.keep, source, memoryview(source)[::-1], b"x" * 40_000)
        source.append(1)
        """
    )
    one, two, three = interp.call(lambda: far.keeps[0])
    assert (bytes(one), bytes(two), bytes(three)) == (b"abc", b"cba", b"x" * 40_000)


@pytest.mark.parametrize("foreign", ["legacy"], indirect=True)
def test_foreign_copies_keep_their_order(foreign):
    pytest.importorskip("_testbuffer")
    foreign(
        """
        import _testbuffer as t
        source = t.ndarray(list(range(6)), shape=[2, 3], flags=t.ND_FORTRAN)
        view = interp.call(far.same, memoryview(source))
        assert view.tolist() == source.tolist() == [[0, 2, 4], [1, 3, 5]], view.tolist()
        assert view.strides == source.strides
        raw = interp.call(far.same, far.reduced_to(bytes, pickle.PickleBuffer(source)))
        assert raw == memoryview(source).tobytes("A") == bytes(range(6)), raw
        odd = t.ndarray(list(range(12)), shape=[3, 4], flags=t.ND_FORTRAN)[::2, 1:]
        assert interp.call(far.same, memoryview(odd)).tolist() == odd.tolist()
        """
    )


def test_foreign_views_of_others(foreign, interp):
    """It gets views as everybody does, and passes them on."""
    source = bytearray(10)
    interp.call(far.keep, source)
    foreign(
        """
        view = interp.call(lambda: far.keeps[0][0])
        view[1] = 11
        interp.call(lambda view: view.__setitem__(2, 12), view)
        """
    )
    assert source[:3] == b"\0\x0b\x0c"


# ---- closing the owner ----


@pytest.mark.parametrize("place", ["sys.kept", "far.kept_here"])
def test_what_is_sent_while_the_owner_is_taken_down_is_a_copy(place):
    """Its memory goes with it, in a moment."""
    with isles.create() as other:
        interp = isles.create()
        interp.prepare_main(other=other)
        interp.exec(
            textwrap.dedent(f"""
            import sys, far
            class Late:
                def __init__(self):
                    self.data, self.other, self.keep = bytearray(b"late" * 25), other, far.keep
                    other.call(far.keep, None)
                def __del__(self):
                    self.other.call(self.keep, self.data)
                    self.data.append(1)  # refused while it is lent
                    self.other.call(self.keep, self.data)
            {place} = Late()
            """)
        )
        interp.close()
        if place == "sys.kept":  # by then, sys still works well enough for this
            assert other.call(lambda: bytes(far.keeps[0][0])) == b"late" * 25 + b"\1"


# ---- classes that pickle knows, with memory out of band ----


@pytest.fixture
def absent(interp, tmp_path, monkeypatch):
    """A module with a class of arrays, that no other interpreter can import."""
    (tmp_path / "absent.py").write_text(
        textwrap.dedent("""
        import pickle

        class Array:
            def __init__(self, data):
                self.data = data
            def __buffer__(self, flags):
                return memoryview(self.data)
            def __reduce_ex__(self, protocol):
                return Array, (pickle.PickleBuffer(memoryview(self)),), {"words": "C"}
            def __setstate__(self, state):
                pass
        """)
    )
    monkeypatch.syspath_prepend(tmp_path)
    import absent

    yield absent.Array
    del sys.modules["absent"]


def test_an_absent_class_arrives_as_a_view(absent, interp):
    source = bytearray(b"abc")
    view = interp.call(far.touch, absent(source))
    assert type(view) is memoryview and view == source == b"\x01bc"


def test_an_absent_class_twice(absent, interp):
    array = absent(bytearray(3))
    assert interp.call(far.are_same, array, array)
    assert interp.call(far.are_same, *[[array], [array]])
    assert interp.call(far.are_same, array, x=array)


def test_beside_an_absent_class(absent, interp):
    """What follows is read as if nothing had been left out."""
    shared = isles.SharedBuffer(4)
    memoryview(shared)[:] = b"wxyz"
    array = absent(bytearray(b"abc"))
    point = far.Point("C", shared)
    view, copy, again = interp.call(far.same, [array, point, {"words": "C", "p": point}])
    assert view == b"abc"
    assert copy.x == "C" and again["p"] is copy
    memoryview(copy.y)[0] = 0
    assert bytes(shared) == b"\0xyz"


def test_an_absent_class_inside_of_an_object(absent, interp):
    with pytest.raises(isles.ExecutionFailed, match="No module named 'absent'"):
        interp.call(far.same, far.Point(absent(bytearray(3)), 1))
    array = absent(bytearray(3))
    views = interp.call(far.same, [array, far.Point(array, 1)])
    assert type(views[0]) is memoryview and views[1].x is views[0]


def test_a_class_that_all_know(interp):
    array = far.Array(bytearray(b"abc"))
    back = interp.call(far.same, [array, far.Point(array, array), array])
    assert type(back[0]) is far.Array and back[2] is back[1].x is back[1].y is back[0]
    memoryview(back[0])[1] = 0
    assert array.data == b"a\0c"
    back = interp.call(far.same, [far.Point(array, array), array])
    assert type(back[1]) is far.Array and back[0].x is back[1]


# ---- memory that comes home ----


@pytest.mark.parametrize(
    "make",
    [
        lambda: bytearray(range(10)),
        lambda: memoryview(bytearray(range(10))),
        lambda: memoryview(bytearray(range(10)))[::-1],
        lambda: memoryview(bytearray(range(10)))[8:2:-2],
        lambda: memoryview(bytearray(range(12))).cast("B", (3, 4)),
    ],
    ids=["bytearray", "memoryview", "reversed", "sliced", "shaped"],
)
@pytest.mark.parametrize("isolated", [True, False])
def test_an_interpreter_that_holds_its_own_memory_ends(make, isolated):
    before = ended_interpreters()
    with isles.create(isolated=isolated) as other:
        interp = isles.create(isolated=isolated)
        interp.call(far.send_and_keep, make, other)
        interp.close()
    assert ended_interpreters() == before


def ended_interpreters():
    """Those that CPython still has and isles doesn't, as others use what they lent."""
    std = pytest.importorskip("_interpreters")
    return {int(id) for id, *_ in std.list_all()} - {interp.id for interp in isles.list_all()}


# ---- when it is released ----


@pytest.fixture
def pipe():
    read, write = os.pipe()
    yield read, write
    os.close(read)
    os.close(write)


def released(pipe, seconds=0):
    """How often a far.Noted has been released since the last time."""
    readable, _, _ = select.select(pipe[:1], [], [], seconds)
    return len(os.read(pipe[0], 100)) if readable else 0


REFUSING = """
import os, threading
real = threading._shutdown
def shutdown():
    threading._shutdown = real
    os.write({started}, b"x")
    os.read({go_on}, 1)
    real()
threading._shutdown = shutdown
end = threading.Event()
daemon = threading.Thread(target=end.wait, daemon=True)
daemon.start()
"""


def test_refused_closing_leaves_nothing_locked(pipe):
    """A view that is dropped while the owner can't be entered, as it is about to end."""
    started, go_on = os.pipe(), os.pipe()
    interp = isles.create(isolated=False)
    interp.exec(REFUSING.format(started=started[1], go_on=go_on[0]))
    views = [interp.call(far.noted, pipe[1])]
    released(pipe)  # by who described it
    closer = threading.Thread(target=far.attempt, args=(interp.close,))
    closer.start()
    os.read(started[0], 1)
    views.clear()
    assert not released(pipe)
    os.write(go_on[1], b"x")
    closer.join()
    assert released(pipe) == 1
    interp.exec("end.set(); daemon.join()")
    interp.close()
    for fd in started + go_on:
        os.close(fd)


@pytest.mark.parametrize("isolated", [True, False])
@pytest.mark.parametrize("then", ["call", "close"])
def test_who_releases_memory_keeps_nobody_out(isolated, then, pipe):
    """Another thread drops a view and so is inside the owner, which knows nothing of it."""
    interp = isles.create(isolated=isolated)
    views = [interp.call(far.lingering, pipe[1])]
    released(pipe)  # by who described it
    dropper = threading.Thread(target=views.clear)
    dropper.start()
    assert released(pipe, 10) == 1
    assert not interp.is_running()
    if then == "call":
        assert interp.call(abs, -1) == 1
    interp.close()
    dropper.join()
