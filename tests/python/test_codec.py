"""Values there and back: what arrives is what pickle would deliver, whatever way it took."""

import collections
import datetime
import decimal
import fractions
import functools
import gc
import math
import operator
import pickle
import re
import sys
import threading

import far
import pytest
from graphs import Names, Node, Pair, Rows, difference

import isles


@pytest.fixture(scope="module", params=[True, False], ids=["isolated", "shared"])
def interp(request):
    with isles.create(isolated=request.param) as interp:
        yield interp


def pickled(value):
    """As it is after two ways: the order of a set may change on each."""
    for _ in range(2):
        value = pickle.loads(pickle.dumps(value, 5))
    return value


def assert_arrives(interp, value):
    """As an argument, a keyword argument and a result."""
    expected = pickled(value)
    assert difference(interp.call(far.same, value), expected) is None
    assert difference(interp.call(far.same, value=value), expected) is None


# ---- values ----

EDGES = [
    sign * 2**power + off
    for power in [*range(130), 4096, 40_000]
    for sign in (1, -1)
    for off in (-1, 0, 1)
]


def test_ints(interp):
    assert_arrives(interp, EDGES)
    assert_arrives(interp, tuple(EDGES))
    assert_arrives(interp, [(value, None) for value in EDGES])
    assert_arrives(interp, {value: -value for value in EDGES})


@pytest.mark.parametrize("kind", [list, tuple])
def test_rows_of_ints(kind, interp):
    """Where they start, how long they are, and what breaks them."""
    for length in [*range(20), 253, 254, 255, 256, 5000]:
        assert_arrives(interp, kind(range(length)))
        assert_arrives(interp, kind([None, *range(-length, 0), "x", *range(length)]))
    for odd in (None, 2**31, -(2**31) - 1, 2**64, True, "x", [1], Node(1)):
        for at in range(18):
            row = list(range(17))
            row.insert(at, odd)
            assert_arrives(interp, kind(row))
    assert_arrives(interp, kind([2**31 - 1, -(2**31)] * 8))
    assert_arrives(interp, kind([2**31, 1] * 20))
    assert_arrives(interp, kind([*range(8), 2**31] * 5))


def test_floats(interp):
    nan = float("nan")
    values = [0.0, -0.0, nan, -nan, math.inf, -math.inf, 5e-324, sys.float_info.max, 0.1, 1e300]
    assert_arrives(interp, values)
    assert_arrives(interp, [complex(a, b) for a in values for b in values])
    for value in values:
        assert_arrives(interp, value)
        assert_arrives(interp, complex(value, -value))


@pytest.mark.parametrize("last", ["a", "\x7f", "\x80", "\xff", "\u0100", "\ud800", "\U0010ffff"])
def test_strings(last, interp):
    """Of every kind, and the sizes around those that are written in another way."""
    for size in [*range(20), 253, 254, 255, 256, 70_000]:
        assert_arrives(interp, "a" * size + last)
        assert_arrives(interp, "".join(chr(33 + i % 90) for i in range(size)) + last)
        assert_arrives(interp, last * size)
    assert_arrives(interp, ["", last, "\0" + last, last + "\udfff\0"] * 2)
    assert_arrives(interp, {last: last, last + last: None})


def test_bytes(interp):
    for size in [*range(20), 253, 254, 255, 256, 70_000]:
        assert_arrives(interp, b"\0\xff" * size)
        assert_arrives(interp, bytearray(size))


def test_hashes_are_equal_there(interp):
    """Of keys that are found by their hash, also in what was never hashed here."""
    key = ("x" * 3, b"yyy", 2**70, frozenset(["zzz"]))
    assert interp.call(operator.getitem, {key: 1}, key) == 1
    assert interp.call(operator.contains, {"".join(["ab", "c"])}, "abc")
    assert interp.call(hash, 2**70) == hash(2**70)


@pytest.mark.parametrize("size", [0, 1, 5, 254, 255, 256, 5000])
def test_containers(size, interp):
    for value in (
        [None] * size,
        (1.5,) * size,
        {i: str(i) for i in range(size)},
        {str(i): i for i in range(size)},
        set(range(size)),
        frozenset(map(str, range(size))),
        [[] for _ in range(size)],
        [(i, [i], {i}) for i in range(size)],
        Rows([1] * size),
    ):
        assert_arrives(interp, value)


def test_ranges_and_slices(interp):
    for start in (0, -1, 2**31, 2**63, -(2**70)):
        assert_arrives(interp, range(start))
        assert_arrives(interp, range(5, start, -3))
        assert_arrives(interp, slice(start))
    assert_arrives(interp, slice(None, [slice("a", (1,), {})], b""))


def test_singletons(interp):
    for value in (None, True, False, ..., NotImplemented, ()):
        assert interp.call(far.same, value) is value
        assert interp.call(far.same, [value])[0] is value


def test_order_of_dicts(interp):
    for keys in (range(100, 0, -1), map(str, range(99, 0, -1)), [None, "x", 2, b"", (), 1.5]):
        value = dict.fromkeys(keys)
        assert list(interp.call(far.same, value)) == list(value)
    assert list(interp.call(far.echo, z=1, a=2, m=3)[1]) == ["z", "a", "m"]


def test_subclasses_and_others_go_by_pickle(interp):
    data = [1, "two"]
    for value in (
        Rows(data),
        Rows([Rows([]), data, data]),
        Names(a=data),
        Pair([data, data]),
        far.Text("text"),
        far.Point(data, data),
        collections.OrderedDict(b=1, a=data),
        collections.defaultdict(list, x=data),
        collections.deque([data], 5),
        collections.Counter("abracadabra"),
        datetime.datetime(2000, 1, 2, tzinfo=datetime.UTC),
        decimal.Decimal("1.50"),
        fractions.Fraction(1, 3),
        functools.partial(far.add, 1),
        re.compile("a+"),
        int,
        len,
        far.Point.origin,
        ValueError("x", data),
    ):
        back = interp.call(far.same, {"value": value, "data": data})
        assert type(back["value"]) is type(value)
        assert ascii(back["value"]) == ascii(pickled(value)) or type(value) in (
            far.Point,
            functools.partial,
        )
        if not isinstance(value, (functools.partial, re.Pattern)):
            assert_arrives(interp, [value, {"again": value}, data])


def test_what_main_defines_goes_by_value(interp, in_main):
    make = in_main(
        """
        import enum

        class Colour(enum.Enum):
            RED = 1

        class Base(list):
            def total(self):
                return sum(self) + offset

        offset = 100

        def make(shared):
            rows = Base([1, 2, 3])
            rows.shared = shared
            return {"rows": rows, "colour": Colour.RED, "shared": shared, "f": lambda: offset}
        """,
        "make",
    )
    shared = [1]
    value = make(shared)
    assert interp.call(lambda value: value["rows"].total(), value) == 106
    assert interp.call(lambda value: value["f"]() + value["colour"].value, value) == 101
    assert interp.call(lambda value: value["rows"].shared is value["shared"], value)
    back = interp.call(far.same, value)
    assert back["rows"].shared is back["shared"] == shared
    assert back["rows"].total() == 106


# ---- identity ----


def test_aliases(interp):
    item, text, data, whole = [1], "text", b"data", ([2], {"x"})
    assert_arrives(interp, [item, item, (item, {"x": item}), whole, whole])
    for shared in (item, text, data, whole, 1 + 2j, frozenset([5]), {1: 2}, {3}, range(7)):
        back = interp.call(far.same, [shared, {"x": shared}, (shared,)])
        assert back[0] is back[1]["x"] is back[2][0]


def test_aliases_across_arguments(interp):
    item = [1]
    args, kwargs = interp.call(far.echo, item, item, [item], x=item, y={"z": item})
    assert args[0] is args[1] is args[2][0] is kwargs["x"] is kwargs["y"]["z"]
    node = Node(item)
    args, kwargs = interp.call(far.echo, node, item, x=(node, item))
    assert args[0].items[0] is args[1] is kwargs["x"][1]
    assert args[0] is kwargs["x"][0]


def test_borrowed_arguments_are_one(interp):
    """A frame may hand over its only reference."""

    def call(value):
        args, _ = interp.call(far.echo, value, value)
        return args[0] is args[1]

    assert call([1])
    assert call({})
    assert call(Node())
    assert call(("x" * 5, []))


def ring_of(kind):
    ring = kind()
    if isinstance(ring, dict):
        ring["self"] = ring
    elif isinstance(ring, Node):
        ring.items.append(ring)
    else:
        ring.append(ring)
    return ring


@pytest.mark.parametrize("kind", [list, dict, Rows, Names, Node])
def test_rings(kind, interp):
    ring = ring_of(kind)
    for value in (ring, [ring, ring], {"x": (ring, [ring])}, Node(ring), (Node(ring), ring)):
        assert_arrives(interp, value)


def test_rings_of_two(interp):
    """Everything that may hold everything, native or not, from either end."""

    makers = {
        "list": (lambda: [], lambda a, b: a.append(b)),
        "dict": (lambda: {}, lambda a, b: a.update(x=b)),
        "tuple": (lambda: ([],), lambda a, b: a[0].append(b)),
        "slice": (lambda: slice([]), lambda a, b: a.stop.append(b)),
        "frozenset": (lambda: frozenset([Node()]), lambda a, b: next(iter(a)).items.append(b)),
        "set": (lambda: {Node()}, lambda a, b: next(iter(a)).items.append(b)),
        "node": (Node, lambda a, b: a.items.append(b)),
        "rows": (Rows, lambda a, b: a.append(b)),
        "deque": (collections.deque, lambda a, b: a.append(b)),
        "tuple of node": (lambda: (Node(),), lambda a, b: a[0].items.append(b)),
        "keys": (lambda: {Node(): 1}, lambda a, b: next(iter(a)).items.append(b)),
    }
    for make_a, link_a in makers.values():
        for make_b, link_b in makers.values():
            a, b = make_a(), make_b()
            link_a(a, b)
            link_b(b, a)
            assert_arrives(interp, a)
            assert_arrives(interp, [a, {"b": b}, (a, b)])


# ---- identity, beside pickles ----


def test_slice_inside_of_itself(interp):
    ring = []
    value = slice(ring, None)
    ring.append(value)
    assert_arrives(interp, value)
    assert_arrives(interp, [ring, value])


def test_slice_inside_of_itself_by_way_of_an_object(interp):
    node = Node()
    node.items.append(slice(1, node))
    assert_arrives(interp, node.items[0])
    assert_arrives(interp, node)


@pytest.mark.parametrize("shared", [range(3), slice([1], 2)], ids=["range", "slice"])
def test_range_and_slice_are_shared_with_an_object(shared, interp):
    for value in ([shared, Node(shared)], [Node(shared), shared]):
        assert_arrives(interp, value)


def test_object_that_hands_out_what_others_hold(interp):
    """Its __reduce__ reaches into containers that were written already, or are being written."""
    for make in (
        lambda: [[[]], [1, [2]]],
        lambda: {"a": {"b": 1}, "c": (set(), (slice([]), range(3)))},
        lambda: ({1}, frozenset([(1, 2)]), ([],)),
    ):
        data = make()
        inner = data["c"] if isinstance(data, dict) else data[-1]
        handed = far.HandsOut(lambda: (far.Point, (inner[0], inner[-1])))
        assert_arrives(interp, [data, handed])
        assert_arrives(interp, [handed, data, handed])
        assert_arrives(interp, {"x": [1, {"data": data, "handed": (1, handed)}]})
    data = [[]]
    data.append(far.HandsOut(lambda: (far.Point, (data[0], 1))))
    assert_arrives(interp, data)


@pytest.mark.parametrize("make", [list, Node, lambda: ["x"], lambda: Node("x")], ids=str)
def test_thousands_of_shared_objects(make, interp):
    """The memo grows on both sides."""
    shared = [make() for _ in range(5000)]
    assert_arrives(interp, [shared, list(reversed(shared)), Node(*shared)])
    texts = [f"text {i}" for i in range(5000)]
    back = interp.call(far.same, texts + texts)
    assert back == texts + texts
    assert all(map(operator.is_, back[:5000], back[5000:]))


# ---- what can't travel ----

LOCK = threading.Lock()
WHY = "cannot pickle '_thread.lock' object"


@pytest.mark.parametrize(
    ("args", "kwargs", "way"),
    [
        ([LOCK], {}, "args[0]"),
        ([1, LOCK], {}, "args[1]"),
        ([], {"name": LOCK}, "kwargs['name']"),
        ([{"rows": [0, 1, 2, LOCK]}], {}, "args[0]['rows'][3]"),
        ([], {"name": ([], (LOCK,))}, "kwargs['name'][1][0]"),
        ([{5: [LOCK], 6: 1}], {}, "args[0][5][0]"),
        ([{None: LOCK}], {}, "args[0][NoneType object]"),
        ([{("a", 1): LOCK}], {}, "args[0][tuple object]"),
        ([{LOCK: 1}], {}, "args[0].keys()"),
        ([{(1, LOCK): 1}], {}, "args[0].keys()[1]"),
        ([[{LOCK}]], {}, "args[0][0]{...}"),
        ([frozenset([(LOCK,)])], {}, "args[0]{...}[0]"),
        ([[slice(0, LOCK)]], {}, "args[0][0][1]"),
        ([{"it's": LOCK}], {}, 'args[0]["it\'s"]'),
        ([{"\ud800": LOCK}], {}, "args[0]['\\ud800']"),
        ([[*range(20), LOCK]], {}, "args[0][20]"),
    ],
    ids=str,
)
def test_the_way_is_named(args, kwargs, way, interp):
    text = f"_thread.lock object can't travel to another interpreter: {WHY}"
    with pytest.raises(isles.NotShareableError) as excinfo:
        interp.call(far.echo, *args, **kwargs)
    assert str(excinfo.value) == f"{way}: {text}"
    assert str(excinfo.value.__cause__) == WHY


def test_the_object_that_pickle_was_given_is_named(interp):
    with pytest.raises(isles.NotShareableError) as excinfo:
        interp.call(far.same, [far.Point(1, {"lock": LOCK})])
    assert str(excinfo.value).startswith("args[0][0]: far.Point object can't travel")


def test_the_way_in_a_result(interp):
    with pytest.raises(isles.NotShareableError) as excinfo:
        interp.call(eval, "{'rows': [0, __import__('threading').Lock()]}")
    assert str(excinfo.value) == (
        "the result can't come back: result['rows'][1]: "
        f"_thread.lock object can't travel to another interpreter: {WHY}"
    )


def test_the_way_into_main(interp):
    with pytest.raises(isles.NotShareableError, match=r"^ns\['x'\]\[0\]: _thread\.lock object"):
        interp.prepare_main(x=[LOCK])


def test_a_long_way_is_shortened(interp):
    value = [LOCK]
    for _ in range(49):
        value = [value]
    with pytest.raises(isles.NotShareableError) as excinfo:
        interp.call(far.same, value)
    assert str(excinfo.value).startswith(f"args[0]...{'[0]' * 20}: _thread.lock object")


class Key:
    def __init__(self, action=None):
        self.action = action

    def __repr__(self):
        raise AssertionError("nobody asked")

    def __reduce__(self):
        if self.action is not None:
            self.action()
        return Key, ()


def test_no_repr_is_asked_for(interp):
    with pytest.raises(isles.NotShareableError, match=r"^args\[0\]\[test_codec\.Key object\]: "):
        interp.call(far.same, {Key(): LOCK})


@pytest.mark.parametrize(
    "error", [ValueError, ZeroDivisionError, RecursionError, pickle.PickleError]
)
@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: [1, {"a": x}], lambda x: {x}], ids=str)
def test_reduce_raises(error, wrap, interp):
    with pytest.raises(isles.NotShareableError, match="NoPickle object can't travel") as excinfo:
        interp.call(far.same, wrap(far.NoPickle(error("because"))))
    assert isinstance(excinfo.value.__cause__, (error, pickle.PicklingError))


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, MemoryError, GeneratorExit])
@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: [1, {"a": x}], lambda x: {x}], ids=str)
def test_reduce_raises_what_is_no_failure_of_pickling(error, wrap, interp):
    with pytest.raises(error, match="because"):
        interp.call(far.same, wrap(far.NoPickle(error("because"))))
    assert interp.call(far.add, 1) == 111


# ---- containers that change meanwhile ----


def changing(make, change, tail=()):
    """A container that changes when one of its items is pickled; twice: for the second try."""
    value = make(Key(lambda: change(value)), *tail)
    return value


def list_of(*items):
    return [[], *items, [1, 2], ["x"] * 2]


def dict_of(*items):
    return dict(zip(items, ([], [1, 2], ["x"]), strict=False))


def dict_to(*items):
    return {str(i): item for i, item in enumerate([[], *items, [1, 2]])}


def set_of(*items):
    return {*items, (1, 2), "x"}


@pytest.mark.parametrize(
    ("make", "change"),
    [
        (list_of, list.clear),
        (list_of, list.pop),
        (list_of, lambda value: value.append(1)),
        (list_of, lambda value: value.extend([[]] * 1000)),
        (list_of, lambda value: value.__delitem__(slice(1, None))),
        (dict_of, dict.clear),
        (dict_of, dict.popitem),
        (dict_of, lambda value: value.update(more=1)),
        (dict_to, dict.clear),
        (dict_to, lambda value: value.update({i: [] for i in range(1000)})),
        (set_of, set.clear),
        (set_of, lambda value: value.add(len(value))),
        (set_of, lambda value: value.update(range(1000))),
    ],
)
def test_container_changes_its_size(make, change, interp):
    for wrap, way in ((lambda x: x, "args[0]"), (lambda x: [0, x], "args[0][1]")):
        value = changing(make, change)
        kind = type(value).__name__
        with pytest.raises(RuntimeError) as excinfo:
            interp.call(far.same, wrap(value))
        assert str(excinfo.value) == f"{way}: {kind} changed while it was on its way"
        assert type(excinfo.value) is RuntimeError


def replace(value):
    """All items, by others: the only references to the old ones go."""
    if isinstance(value, list):
        value[:] = [[i] for i in range(len(value))]
    elif isinstance(value, dict):
        items = [([i], [i]) for i in range(len(value))]
        for key in list(value):
            value[key] = items.pop()
    else:
        size = len(value)
        value.clear()
        value.update((i, i) for i in range(size))
    gc.collect()


@pytest.mark.parametrize("make", [list_of, dict_of, dict_to, set_of])
@pytest.mark.parametrize("tail", [(), (Key(),), ([Key()], Key())], ids=len)
def test_items_are_replaced(make, tail, interp):
    """Nothing is promised but that it ends well."""
    tail = [item for item in tail if make in (list_of, dict_to) or not isinstance(item, list)]
    for wrap in (lambda x: x, lambda x: (x, [x]), lambda x: Node(x)):
        value = changing(make, replace, tail)
        try:
            interp.call(far.same, wrap(value))
        except RuntimeError as error:
            assert "chang" in str(error)


def test_container_goes_while_it_is_written(interp):
    """The only reference to it, its items with it."""
    for make in (list_of, dict_of, dict_to, set_of, lambda *x: ([], *x, [])):
        holder = []
        inner = make(Key(holder.clear), "x")
        holder.extend([[], inner, []])
        del inner
        with pytest.raises(RuntimeError, match=r"args\[0\]: list changed"):
            interp.call(far.same, holder)


def test_item_is_the_only_one_to_hold_what_is_pickled(interp):
    holder = [far.HandsOut(lambda: (holder.clear(), (list, ()))[1])]
    with pytest.raises(RuntimeError, match="changed"):
        interp.call(far.same, holder)
    holder = {"x": far.HandsOut(lambda: (holder.update(x=None), (list, ()))[1])}
    assert interp.call(far.same, holder) == {"x": []}


def test_call_inside_of_a_reduce(interp):
    """Another message while this one is written."""

    def reduce():
        assert interp.call(far.same, [inner, far.Point(1, inner)])[0] == inner
        return far.Point, (inner, 2)

    inner = [1, {"a": (2,)}]
    back = interp.call(far.same, [inner, far.HandsOut(reduce), inner])
    assert back[1].x is back[0] is back[2]


def test_threads_change_what_is_written(interp):
    """They run whenever a pickle runs Python code."""
    data = {str(i): [Node(i)] for i in range(50)}
    stop = threading.Event()

    def change():
        i = 0
        while not stop.is_set():
            i += 1
            data[f"new {i}"] = [Node()]
            data.pop(f"new {i - 1}", None)

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(30):
            try:
                interp.call(far.same, data)
            except (RuntimeError, isles.NotShareableError) as error:
                assert "chang" in str(error)
    finally:
        stop.set()
        thread.join()


# ---- depth ----


@pytest.mark.parametrize("kind", far.NESTS)
@pytest.mark.parametrize("depth", [100_000])
def test_very_deep(kind, depth, interp):
    why = "maximum recursion depth exceeded|[Ss]tack overflow"
    for _ in range(2):
        with pytest.raises(isles.NotShareableError, match=f"^args\\[0\\]: .* object .*({why})"):
            interp.call(far.same, far.nested(kind, depth))
        with pytest.raises(isles.NotShareableError, match=f"can't come back: .*({why})"):
            interp.call(far.nested, kind, depth)
    assert interp.call(far.nested, kind, 50) is not None


@pytest.mark.parametrize("kind", far.NESTS)
def test_very_deep_on_another_thread(kind, interp):
    errors = []

    def call():
        try:
            interp.call(far.same, far.nested(kind, 100_000))
        except isles.NotShareableError as error:
            errors.append(str(error))

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    assert len(errors) == 1


# ---- nothing stays ----


def blocks(interp):
    for _ in range(2):
        gc.collect()
        interp.call(gc.collect)
    return sys.getallocatedblocks() + interp.call(sys.getallocatedblocks)


def assert_nothing_stays(interp, action, rounds=200):
    """Caches fill once, a leak goes on."""
    grown = []
    for _ in range(12):
        before = blocks(interp)
        for _ in range(rounds):
            try:
                action()
            except (Exception, KeyboardInterrupt):
                pass
        grown.append(blocks(interp) - before)
        if grown[-1] < rounds / 2:
            return
    raise AssertionError(grown)


def fails(error):
    """Raises a new one each time: an exception keeps its tracebacks."""

    def reduce():
        raise error("because")

    return far.HandsOut(reduce)


def slice_ring():
    ring = []
    ring.append(slice(ring))
    return ring[0]


def many():
    shared = []
    return [shared] * 500 + [[f"x{i}"] * 2 for i in range(500)]


VALUES = {
    "containers": [[1], {"a": (2, {3})}, frozenset(["x"]), slice([]), range(2**70), b"yy"],
    "objects": [far.Point([1], {2}), Node(), Rows([Node()])],
    "many": many(),
    "ring": ring_of(list),
    "ring of pickles": [ring_of(Node)],
    "slice ring": [slice_ring()],
    "refused": [[], {"x": LOCK}],
    "reduce raises": [{"x": fails(ValueError)}],
    "reduce is interrupted": [{"x": [fails(KeyboardInterrupt)]}],
    "not unpickled": [1, [far.reduced_to(far.boom)]],
    "pop": [changing(list_of, list.pop)],
    "clear": [changing(dict_of, dict.clear)],
    "add": [changing(set_of, lambda value: value.symmetric_difference_update([1]))],
}


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
def test_nothing_stays(value, interp):
    assert_nothing_stays(interp, lambda: interp.call(far.same, value))
    assert_nothing_stays(interp, lambda: interp.call(far.echo, *value[:20], key=value))


def test_nothing_stays_of_what_is_too_deep(interp):
    value = far.nested("list", 100_000)
    assert_nothing_stays(interp, lambda: interp.call(far.same, value), 20)


def test_references_are_given_back(interp):
    items = [[], {}, (1, []), "text", b"data", {1}, frozenset([2]), Node(), 1j, range(5), slice(6)]
    items.append(dict(zip("abcdefghijk", items, strict=True)))
    before = [sys.getrefcount(item) for item in items]
    for value in (items, [*items, LOCK], (items, Node(items)), [items, far.NoPickle(KeyError())]):
        for args, kwargs in (((value,), {}), (items, items[-1])):
            try:
                interp.call(far.echo, *args, **kwargs)
            except isles.NotShareableError:
                pass
    assert difference(interp.call(far.same, items), pickled(items)) is None
    del value, args, kwargs
    gc.collect()
    assert [sys.getrefcount(item) for item in items] == before
