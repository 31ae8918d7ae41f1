"""Whatever travels arrives as pickle would deliver it."""

import pickle

import far
import pytest
from graphs import Names, Node, Pair, Rows, difference
from hypothesis import HealthCheck, given, settings, strategies as st

import isles


def examples(count):
    """The same ones on each run."""
    return settings(
        max_examples=count,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


@pytest.fixture(scope="module")
def interp():
    with isles.create() as interp:
        yield interp


def pickled(value):
    """As it is after two ways: the order of a set may change on each."""
    for _ in range(2):
        value = pickle.loads(pickle.dumps(value, 5))
    return value


# ---- trees ----

text = st.text(st.characters(categories=None), max_size=12)
atoms = st.one_of(
    st.sampled_from([None, True, False, ..., NotImplemented, (), int, len]),
    st.integers(),
    st.integers(-(2**31) - 2, 2**31 + 1),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.complex_numbers(),
    text,
    st.text("ab\0", max_size=300),
    st.binary(max_size=12),
    st.binary(min_size=250, max_size=260),
)
keys = st.recursive(
    st.one_of(st.integers(), text, st.binary(max_size=5), st.none()),
    lambda inner: st.one_of(st.tuples(inner, inner), st.frozensets(inner, max_size=4)),
    max_leaves=5,
)
trees = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.lists(inner),
        st.lists(inner).map(tuple),
        st.lists(inner).map(Rows),
        st.lists(inner).map(Pair),
        st.dictionaries(keys, inner),
        st.dictionaries(text, inner).map(Names),
        st.sets(keys),
        st.frozensets(keys),
        st.builds(slice, inner, inner, inner),
        st.builds(far.Point, inner, inner),
        st.binary(max_size=5).map(bytearray),
        st.lists(st.integers(-(2**32), 2**32), min_size=6, max_size=12),
    ),
    max_leaves=20,
)


@examples(200)
@given(trees)
def test_trees(interp, value):
    assert difference(interp.call(far.same, value), pickled(value)) is None


@examples(60)
@given(st.lists(trees, max_size=5), st.dictionaries(st.text("abc", min_size=1), trees, max_size=4))
def test_arguments(interp, args, kwargs):
    assert (
        difference(interp.call(far.echo, *args, **kwargs), pickled((tuple(args), kwargs))) is None
    )


# ---- graphs: parts are shared, and rings are closed ----

LATER = {  # what is filled when all others are there
    "list": list,
    "rows": Rows,
    "dict": dict,
    "names": Names,
    "node": Node,
    "point": lambda: far.Point(None, None),
}
MADE = {
    "tuple": tuple,
    "pair": Pair,
    "slice": lambda items: slice(*(items + [None] * 3)[:3]),
    "small": lambda items: len(items),
    "bytearray": lambda items: bytearray(len(items)),
    "range": lambda items: range(len(items)),
}
plans = st.lists(
    st.tuples(
        st.sampled_from([*LATER, *LATER, *MADE, "tuple"]), st.lists(st.integers(0, 15), max_size=5)
    ),
    min_size=1,
    max_size=12,
)


def fill(value, items):
    if isinstance(value, list):
        value.extend(items)
    elif isinstance(value, dict):
        value.update((f"{i}", item) for i, item in enumerate(items))
        value.update((item, i) for i, item in enumerate(items) if isinstance(item, Node))
    elif isinstance(value, Node):
        value.items.extend(items)
    else:
        value.x, value.y = items[:1], tuple(items[1:])


def build(plan):
    """The values that a plan describes; those made before may be part of all, others of some."""
    values = [LATER[kind]() if kind in LATER else None for kind, _ in plan]
    for i, (kind, links) in enumerate(plan):
        if kind in MADE:
            values[i] = MADE[kind]([values[link % len(plan)] for link in links])
    for value, (kind, links) in zip(values, plan, strict=True):
        if kind in LATER:
            fill(value, [values[link % len(plan)] for link in links])
    return values


@examples(500)
@given(plans)
def test_graphs(interp, plan):
    values = build(plan)
    for value in (values[0], values, {"all": values, "last": values[-1]}):
        assert difference(interp.call(far.same, value), pickled(value)) is None


@examples(500)
@given(plans)
def test_graphs_across_arguments(interp, plan):
    values = build(plan)
    named = {f"k{i}": value for i, value in enumerate(values[:3])}
    back = interp.call(far.echo, *reversed(values), **named)
    assert difference(back, pickled((tuple(reversed(values)), named))) is None
