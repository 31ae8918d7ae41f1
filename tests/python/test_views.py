"""Large data without copies: views of the same memory, in every direction; how long it lives."""

import array
import gc
import mmap
import pickle
import sys
import threading
import weakref

import far
import pytest

import isles

SIZE = 100_000


def make_mmap():
    memory = mmap.mmap(-1, SIZE)
    memory[:3] = b"abc"
    return memory


MAKERS = {
    "bytearray": lambda: bytearray(b"abc" + bytes(SIZE)),
    "memoryview": lambda: memoryview(bytearray(b"abc" + bytes(SIZE))),
    "array": lambda: array.array("B", b"abc" + bytes(SIZE)),
    "mmap": make_mmap,
    "empty": bytearray,
}


@pytest.fixture(params=[name for name in MAKERS if name != "empty"])
def source(request):
    return MAKERS[request.param]()


def is_view(buffer):
    return type(buffer).__name__, memoryview(buffer).readonly


def echo_all(there, back):
    for buffer in there:
        back.put(far.poke(buffer))


kept = []  # what stays in an interpreter until it is told to let go


def keep(*buffers):
    kept.extend(buffers)


def total_of_kept():
    return sum(sum(memoryview(buffer).cast("B")) for buffer in kept)


def drop_kept():
    kept.clear()


# ---- every way ----


def test_argument_and_result_are_the_same_memory(source, interp):
    back = interp.call(far.poke, source)
    assert memoryview(source)[0] == ord("z")
    memoryview(source)[1] = 0
    assert type(back) is memoryview and back[1] == 0


def test_inside_containers(source, interp):
    back = interp.call(far.same, {"rows": [source, (source,)], "n": 1})
    first, (second,) = back["rows"]
    first[0] = 7
    assert second[0] == memoryview(source)[0] == 7


def test_through_queues(source, interp):
    there, back = isles.create_queue(), isles.create_queue()
    thread = interp.call_in_thread(echo_all, there, back)
    there.put(source)
    there.shutdown()
    assert back.get(timeout=10)[0] == memoryview(source)[0] == ord("z")
    thread.join()


def test_from_one_interpreter_to_the_next(interp):
    data = bytearray(SIZE)
    with isles.create() as other:
        back = interp.call(far.call_in, other, far.poke, data, 5)
        assert back[5] == data[5] == ord("z")


def test_it_is_a_view_and_not_what_it_was(source, interp):
    assert interp.call(is_view, source) == ("memoryview", False)


def test_empty(interp):
    back = interp.call(far.same, bytearray())
    assert type(back) is memoryview and back.nbytes == 0


@pytest.mark.parametrize("size", [0, 1, 1000, 32 * 1024, 10_000_000])
def test_bytes_stay_bytes(size, interp):
    data = bytes(range(256)) * (size // 256) + bytes(size % 256)
    back = interp.call(far.same, data)
    assert type(back) is bytes and back == data


# ---- how it lies there ----

LAYOUTS = {
    "every second": lambda m: m[::2],
    "backwards": lambda m: m[::-1],
    "a part": lambda m: m[100:200],
    "two dimensions": lambda m: m.cast("B", (10, 10)),
    "doubles": lambda m: m[:80].cast("d"),
    "three dimensions of shorts": lambda m: m[:48].cast("B").cast("h", (2, 3, 4)),
    "nothing of it": lambda m: m[50:50],
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("readonly", [False, True])
def test_layouts(layout, readonly, interp):
    data = bytearray(range(100)) * 2
    whole = memoryview(data).toreadonly() if readonly else memoryview(data)
    view = LAYOUTS[layout](whole[:100] if "dimensions" in layout else whole)
    back = interp.call(far.same, view)
    for name in ("format", "itemsize", "shape", "strides", "ndim", "nbytes", "readonly"):
        assert getattr(back, name) == getattr(view, name), name
    assert back.tolist() == view.tolist()
    if not readonly:
        data[:] = bytes(len(data))
        assert back.tolist() == view.tolist()


def test_array_types(interp):
    for code in "bBhHiIlLqQfd":
        data = array.array(code, [1, 2, 3])
        back = interp.call(far.same, data)
        assert (back.format, back.tolist()) == (code, data.tolist())


def test_readonly_stays_so(interp):
    assert interp.call(is_view, memoryview(b"abc")) == ("memoryview", True)
    with pytest.raises(isles.ExecutionFailed, match="read-only"):
        interp.call(far.poke, memoryview(b"abc"))


def test_a_lent_bytearray_keeps_its_size(interp):
    data = bytearray(10)
    back = interp.call(far.same, data)
    with pytest.raises(BufferError):
        data.append(1)
    del back
    data.append(1)
    assert len(data) == 11


def test_released_memoryview(interp):
    view = memoryview(b"abc")
    view.release()
    with pytest.raises(isles.NotShareableError, match=r"^args\[0\]: .*released"):
        interp.call(far.same, view)


# ---- how long it lives ----


def test_the_exporter_lives_as_long_as_a_view(interp):
    class Data(bytearray):
        pass

    data = Data(SIZE)
    gone = weakref.ref(data)
    interp.call(keep, memoryview(data))
    del data
    gc.collect()
    assert gone() is not None
    interp.call(drop_kept)
    assert gone() is None


def test_views_outlive_what_made_them(interp):
    """The other way round: memory of an interpreter, viewed here."""
    views = [interp.call(bytearray, b"abc" * 1000) for _ in range(20)]
    assert all(view.tobytes() == b"abc" * 1000 for view in views)


@pytest.mark.parametrize("isolated", [True, False])
def test_views_outlive_the_closing_of_their_owner(isolated):
    interp = isles.create(isolated=isolated)
    view = interp.call(bytearray, b"abc" * 10_000)
    part = view[5:]
    interp.close()
    assert interp not in isles.list_all()
    with pytest.raises(isles.InterpreterNotFoundError):
        interp.call(abs, 1)
    view[0] = 1
    assert view[0] == 1 and part[:3] == b"cab"
    del view
    assert part.tobytes().count(b"abc") == 9998
    del part


def test_a_third_one_holds_what_a_closed_one_lent(interp):
    with isles.create() as owner:
        interp.call(keep, owner.call(bytearray, b"\1" * SIZE))
    assert interp.call(total_of_kept) == SIZE
    interp.call(drop_kept)


def test_dropped_by_threads_that_never_were_there():
    interps = [isles.create() for _ in range(3)]
    views = [interp.call(bytearray, b"\1" * 5000) for interp in interps for _ in range(50)]
    parts = [views[i::4] for i in range(4)]
    del views
    threads = [threading.Thread(target=part.clear) for part in parts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for interp in interps:
        interp.close()


def test_a_view_in_a_queue_outlives_its_owner():
    queue = isles.create_queue()
    main_data = bytearray(b"\1" * SIZE)
    with isles.create() as interp:
        interp.call(queue.put, main_data)
    # What the interpreter put has gone with it, and so has what it held.
    assert queue.get(timeout=10) is isles.UNBOUND
    main_data.append(1)


# ---- SharedBuffer ----


def test_shared_buffer_is_zeroed_and_writable():
    shared = isles.SharedBuffer(1000)
    assert len(shared) == shared.nbytes == memoryview(shared).nbytes == 1000
    assert bytes(shared) == bytes(1000)
    memoryview(shared)[3] = 5
    assert bytes(shared)[:5] == b"\0\0\0\5\0"
    assert repr(shared) == "SharedBuffer(1000)"


def test_shared_buffer_arrives_as_one(interp):
    shared = isles.SharedBuffer(1000)
    back = interp.call(far.poke, shared, 10)
    assert type(back) is isles.SharedBuffer
    assert memoryview(shared)[10] == memoryview(back)[10] == ord("z")
    assert interp.call(far.type_name, shared) == "isles.SharedBuffer"


def test_shared_buffer_outlives_who_made_it():
    with isles.create() as interp:
        shared = interp.call(far.poke, interp.call(isles.SharedBuffer, 50), 4)
    assert bytes(shared)[3:6] == b"\0z\0"


def test_shared_buffer_in_queues_and_containers(interp):
    queue, shared = isles.create_queue(), isles.SharedBuffer(10)
    interp.call(queue.put, {"buffer": [shared]})
    memoryview(queue.get()["buffer"][0])[0] = 9
    assert bytes(shared)[0] == 9


def test_view_of_a_shared_buffer(interp):
    shared = isles.SharedBuffer(10)
    back = interp.call(far.poke, memoryview(shared)[5:], 0)
    assert bytes(shared) == b"\0" * 5 + b"z" + b"\0" * 4 and back.nbytes == 5


@pytest.mark.parametrize("protocol", range(6))
def test_shared_buffer_pickled_elsewhere_is_a_copy(protocol):
    shared = isles.SharedBuffer(3)
    copy = pickle.loads(pickle.dumps(shared, protocol))
    memoryview(copy)[0] = 1
    assert type(copy) is isles.SharedBuffer and bytes(shared) == bytes(3)


@pytest.mark.parametrize(
    ("size", "error"),
    [(-1, ValueError), (sys.maxsize, MemoryError), (2**70, OverflowError), ("a", TypeError)],
)
def test_shared_buffer_refuses(size, error):
    with pytest.raises(error):
        isles.SharedBuffer(size)


def test_shared_buffer_of_nothing(interp):
    assert interp.call(len, isles.SharedBuffer(0)) == 0
