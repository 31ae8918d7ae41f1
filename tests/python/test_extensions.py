"""Extension modules in isolated interpreters: a private copy for each, the modules of
tests/extensions/ being the traps."""

import contextlib
import ctypes
import importlib
import pickle
import shutil
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.machinery import ExtensionFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import extensions_build
import far
import far_traps
import pytest
from child_process import check_clean, run_script

import isles

COPIED = extensions_build.names(extensions_build.COPIED)
REFUSED = [name for name in COPIED if "keeps" not in name]  # by CPython
SHARED = extensions_build.names(extensions_build.SHARED)


@pytest.fixture(autouse=True)
def made(traps):
    return traps


@pytest.fixture(params=["main", "isolated"])
def place(request):
    """Where a module is to behave: what holds in main holds everywhere."""
    if request.param == "main":
        yield isles.get_main()
    else:
        with isles.create() as interp:
            yield interp


@pytest.fixture
def four():
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(isles.create()) for _ in range(4)]


def available(params):
    """A fixture: the name of a module, if it could be compiled."""

    @pytest.fixture(params=params)
    def name(request, traps):
        if request.param in traps.missing:
            pytest.skip(traps.missing[request.param])
        return request.param

    return name


copied = available(COPIED)
refused = available(REFUSED)
shared = available(SHARED)
name = available(COPIED + SHARED)


def at_once(interps, func, *args):
    """In each on a thread of its own, all starting together."""
    start = threading.Barrier(len(interps))

    def run(interp):
        start.wait()
        return interp.call(func, *args)

    with ThreadPoolExecutor(len(interps)) as pool:
        return list(pool.map(run, interps))


def failure(interp, name):
    """The type and text of the exception that the import raised inside, or None."""
    return interp.call(far_traps.attempt, name)


# ---- static memory ----


def test_counts(place, name):
    before = place.call(far_traps.bump, name)
    assert place.call(far_traps.bump, name, 10) == before + 10


def test_counts_alone(interp, copied):
    """Neither sees the other's count."""
    before = far_traps.bump(copied)
    assert interp.call(far_traps.bump, copied, 3) == 3
    assert far_traps.bump(copied) == before + 1


def test_count_of_what_is_shared(interp, shared):
    before = far_traps.bump(shared)
    assert interp.call(far_traps.bump, shared) == before + 1
    assert far_traps.bump(shared) == before + 2


def test_four_at_once(four, copied):
    """Each uses all that the module has, while the others do."""
    assert at_once(four, far_traps.exercise, copied, 100) == [100] * 4
    assert at_once(four, far_traps.bump, copied) == [101] * 4


def is_imported_without_main(interp, names):
    ready = isles.create_queue()
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(interp.call, far_traps.import_soon, names, ready)
        ready.get()
        ctypes.PyDLL(None).usleep(1_500_000)  # keeps the GIL
        return done.result() < time.monotonic() - 0.5


def test_import_of_what_is_shared_does_not_wait_for_main(shared):
    """CPython takes main's GIL for it: isles only the first time."""
    with isles.create() as first, isles.create() as second:
        assert failure(first, shared) is None
        assert is_imported_without_main(second, [shared])


def test_import_from_the_standard_library_does_not_wait_for_main():
    script = f"""
        import isles, sys
        sys.path.append({str(Path(__file__).parent)!r})
        import test_extensions
        names = "array _bisect cmath _csv _elementtree math select _struct zlib".split()
        with isles.create() as interp:
            assert test_extensions.is_imported_without_main(interp, names)
    """
    check_clean(textwrap.dedent(script))


def test_what_is_built_in_supports_own_gil():
    """But for what binding/loader_shared.c names."""
    unready = "_curses _curses_panel _suggestions _tkinter _tracemalloc faulthandler readline"
    names = {*sys.builtin_module_names} & sys.stdlib_module_names - {*unready.split()}
    with isles.create(extensions="strict") as interp:
        assert {name: failure(interp, name) for name in names} == dict.fromkeys(names)


def test_exercise_in_main(name):
    before = far_traps.bump(name)
    assert far_traps.exercise(name, 10) == before + 10


def test_next_interpreter_begins_anew(copied):
    for _ in range(3):
        with isles.create() as interp:
            assert interp.call(far_traps.exercise, copied, 20) == 20


def test_faulthandler(interp):
    """Importable, but what has the process keep an interpreter's objects is refused."""
    assert interp.call(far_traps.faulthandler_here) == (False, ["RuntimeError"] * 6)


def test_faulthandler_is_denied():
    with isles.create(extensions={"faulthandler": "deny:no"}) as interp:
        assert "faulthandler" in failure(interp, "faulthandler")[1]
    with isles.create(extensions="strict") as interp:
        assert "does not support loading" in failure(interp, "faulthandler")[1]


def test_shared_gil_has_mains(copied):
    """isolated=False is as with the standard library: main's static memory."""
    before = far_traps.bump(copied)
    with isles.create(isolated=False) as interp:
        assert interp.call(far_traps.bump, copied) == before + 1
    assert far_traps.bump(copied) == before + 2


def test_all_in_one(interp, made):
    """All of them side by side."""
    names = [each for each in COPIED if each not in made.missing]
    assert {each: interp.call(far_traps.bump, each) for each in names} == dict.fromkeys(names, 1)
    assert [interp.call(far_traps.exercise, each, 5) for each in names] == [6] * len(names)


# ---- what a module is known by ----


def test_description(interp, name, made):
    there = interp.call(far_traps.describe, name)
    assert there == far_traps.describe(name)
    assert there["__file__"] == there["getfile"] == there["found"] == made.file(name)


def test_resources(place, made):
    assert place.call(far_traps.data_of, "traps") == (str(made.folder / "traps"), "bait\n")


def test_reload(place, name):
    assert place.call(far_traps.reload, name) is True


def test_import_anew(place, name):
    """Another module object, on the same static memory."""
    assert place.call(far_traps.reimport, name) == (False, 1)


def test_two_modules_in_one_file(place):
    assert place.call(far_traps.second_of_pair) == ("traps.second", True, [0, 1, 2])


@pytest.mark.parametrize("name", [name for name in COPIED if "creates" in name])
def test_module_made_by_a_module(place, name):
    assert place.call(far_traps.inner, name) == ("inner", 1)


# ---- single-phase ----


def test_single(place):
    types = ["traps.sub.single.Static", "traps.sub.single.Heap"]
    assert place.call(far_traps.single) == ("traps.sub.single", types, True, 7)


def test_single_import_anew(place):
    assert place.call(far_traps.single_again) == (True, True, 1)


def test_single_without_import(place):
    """NumPy's tests count on it."""
    assert place.call(far_traps.single_without_import) is True


def test_find_module(place):
    assert place.call(far_traps.found_by_state) == [True] * 4


def test_state_memory(place):
    assert place.call(far_traps.state_memory) == (1, 1, 2)


def test_init_runs_here(place):
    """Its init imports: that is this interpreter's too, not main's."""
    far_traps.bump("traps.binds")
    assert place.call(far_traps.binds_here) == (True, place.id)


# ---- types ----


def test_static_type(place):
    assert place.call(far_traps.collected_nodes, 50) == 50


@pytest.mark.parametrize("kind", ["Static", "Heap"])
def test_pickled_by_name(interp, kind):
    module = importlib.import_module("traps.sub.single")
    number = getattr(module, kind)(5)
    assert interp.call(far_traps.value_of, number) == 5
    back = interp.call(far.same, number)
    assert type(back) is type(number) and back.value == 5
    assert interp.call(far.same, type(number)) is type(number)
    assert interp.call(far.type_name, number) == f"traps.sub.single.{kind}"


def test_pickled_inside(interp):
    """Made there, brought here, and on to a third one."""
    kind = importlib.import_module("traps.static_type").Node
    inner = importlib.import_module("traps.sub.single").Heap(3)
    with isles.create() as other:
        back = far.relay([interp, other], far.same, kind([inner]))
    assert type(back) is kind and back.child[0].value == 3
    data = interp.call(far_traps.dumps_node, "text")
    assert pickle.loads(data).child == "text"


# ---- C++ ----


@pytest.fixture(params=["bump_inline", "bump_template", "bump_local"])
def unique(request, made):
    if "traps.unique" in made.missing:
        pytest.skip(made.missing["traps.unique"])
    return "traps.unique", request.param


def load_copy(file, name, folder):
    """A module from a copy of its file, by CPython's own means."""
    copy = shutil.copy(file, folder)
    spec = spec_from_file_location(name, copy, loader=ExtensionFileLoader(name, str(copy)))
    return module_from_spec(spec)


def test_unique_is_a_trap(unique, made, tmp_path):
    """A plain copy of the file shares it."""
    name, bump = unique
    before = far_traps.call(name, bump)
    copy = load_copy(made.file(name), name, tmp_path)
    assert getattr(copy, bump)() == before + 1
    assert copy.bump() == 1


def test_unique(interp, unique):
    before = far_traps.call(*unique)
    assert [interp.call(far_traps.call, *unique) for _ in range(2)] == [1, 2]
    with isles.create() as other:
        assert other.call(far_traps.call, *unique) == 1
    assert far_traps.call(*unique) == before + 1


# ---- libraries ----


def test_library_with_python_is_one_inside(place):
    assert len(set(place.call(far_traps.libraries))) == 1
    assert place.call(far_traps.keep_in_library, 5) == [True, True]


def test_library_with_python_is_another_elsewhere(four):
    places = [isles.get_main(), *four]
    assert len({place.call(far_traps.libraries)[0] for place in places}) == 5
    for number, each in enumerate(places):
        each.call(far_traps.call, "traps.needs_python", "keep", [number])
    kept = [place.call(far_traps.call, "traps.needs_deep", "kept") for place in places]
    assert kept == [[0], [1], [2], [3], [4]]


@pytest.mark.parametrize("order", [1, -1])
def test_library_with_python_in_any_order(interp, order):
    for each in ["traps.needs_python", "traps.needs_deep", "traps.needs_python_too"][::order]:
        interp.call(far_traps.bump, each)
    assert len(set(interp.call(far_traps.libraries))) == 1


def test_library_with_python_begins_anew():
    for _ in range(3):
        with isles.create() as interp:
            assert interp.call(far_traps.call, "traps.needs_python", "kept") is None
            interp.call(far_traps.call, "traps.needs_python", "keep", ["left behind"])


def test_library_without_python_is_shared(four):
    """It counts for all; the modules count alone."""
    name = "traps.needs_plain"
    before = far_traps.call(name, "bump_library")
    counts = [interp.call(far_traps.call, name, "bump_library") for interp in four]
    assert counts == [before + n for n in (1, 2, 3, 4)]
    assert far_traps.call(name, "bump_library") == before + 5
    assert [interp.call(far_traps.bump, name) for interp in four] == [1] * 4


def test_library_not_safe_for_threads(four):
    name = "traps.needs_hdf5"
    before = far_traps.call(name, "bump_library")
    assert [interp.call(far_traps.call, name, "bump_library") for interp in four] == [1] * 4
    assert far_traps.call(name, "bump_library") == before + 1


# ---- thread-local data ----


@pytest.fixture(params=["thread_local", "initial_exec"])
def tls(request):
    return f"traps.{request.param}"


def test_thread_local(place, tls):
    counts = place.call(far_traps.thread_counts, tls, 3)
    assert counts[1] == 3
    assert place.call(far_traps.call, tls, "bump_thread") == counts[0] + 1


def test_thread_local_alone(four, tls):
    """One thread in many interpreters, and many threads in one."""
    before = far_traps.call(tls, "bump_thread")
    for interp in four:
        assert interp.call(far_traps.thread_counts, tls, 3) == [3, 3]
    assert at_once(four, far_traps.thread_counts, tls, 5) == [[5, 5]] * 4
    assert [interp.call(far_traps.call, tls, "bump_thread") for interp in four] == [4] * 4
    assert far_traps.call(tls, "bump_thread") == before + 1


STATIC_TLS = """
import sys
sys.path += sys.argv[1:]
import far_traps, isles

interps, failed = [], None
while not failed and len(interps) < 64:
    interps.append(isles.create())
    failed = interps[-1].call(far_traps.attempt, "traps.large_tls")
print(len(interps), *failed)

*good, bad = interps
assert bad.call(far_traps.bump, "traps.counter", 3) == 3
assert bad.call(far_traps.attempt, "traps.large_tls")[0] == failed[0]
for interp in good:
    assert interp.call(far_traps.thread_counts, "traps.large_tls", 2) == [2, 2]
for interp in interps:
    interp.close()
"""


def test_static_tls_runs_out(made):
    folders = str(made.folder), far.__file__.rpartition("/")[0]
    number, kind, *text = check_clean(STATIC_TLS, *folders).split()
    assert int(number) > 1 and kind == "ImportError"
    assert "traps.large_tls" in " ".join(text) and "static TLS" in " ".join(text)


STATIC_TLS_IN_MAIN = """
import shutil, sys
from importlib.machinery import ExtensionFileLoader
from importlib.util import module_from_spec, spec_from_file_location

file, folder = sys.argv[1:]
for number in range(64):
    copy = shutil.copy(file, f"{folder}/{number}.so")
    loader = ExtensionFileLoader("traps.large_tls", copy)
    spec = spec_from_file_location("traps.large_tls", copy, loader=loader)
    try:
        module_from_spec(spec)
    except ImportError as error:
        print(number, error)
        break
"""


def test_static_tls_is_a_trap(made, tmp_path):
    out = check_clean(STATIC_TLS_IN_MAIN, made.file("traps.large_tls"), str(tmp_path))
    assert "cannot allocate memory in static TLS block" in out
    assert 0 < int(out.split()[0]) < 64


@pytest.mark.parametrize("policy", [None, {"llvmlite": "shared"}])
def test_library_opened_by_ctypes(made, tmp_path, policy):
    """Numba tells LLVM, which ctypes opens, where its objects are."""
    file = shutil.copy(made.folder / "traps/libs/libtrap_plain.so", tmp_path / "libllvmlite.so")
    first = far_traps.bump_by_ctypes(file)
    for _ in range(2):
        with isles.create(extensions=policy) as interp:
            count = interp.call(far_traps.bump_by_ctypes, file)
            assert interp.call(far_traps.bump_by_ctypes, file) == count + 1
            if policy is None:
                assert count == 1
    assert far_traps.bump_by_ctypes(file) == first + (1 if policy is None else 5)


def test_missing_library_opened_by_ctypes(interp, tmp_path):
    with pytest.raises(isles.ExecutionFailed, match="No such file"):
        interp.call(far_traps.bump_by_ctypes, str(tmp_path / "libllvmlite.so"))


# ---- threads of the module's own ----


@pytest.mark.parametrize("threads", [1, 8])
@pytest.mark.parametrize("times", [1, 2, 50])
def test_own_thread(place, threads, times):
    seen = place.call(far_traps.own_threads, threads, times)
    assert seen == [place.id] * (threads * times)


def test_own_threads_in_four_at_once(four):
    seen = at_once([isles.get_main(), *four], far_traps.own_threads, 4, 50)
    assert seen == [[place.id] * 200 for place in (isles.get_main(), *four)]


def test_own_thread_leaves_objects(place):
    assert place.call(far_traps.garbage_from_own_thread, 5000) == (0, 5000)


def test_call_on_the_same_thread(place):
    assert place.call(far_traps.call_here) is True
    far_traps.bump("traps.own_thread")
    assert place.call(far_traps.call_here) is True


OWN_THREADS = """
import sys, time
sys.path += sys.argv[1:3]
import far_traps, isles

at_exit, seconds = eval(sys.argv[3])
for _ in range(5):
    with isles.create() as interp:
        interp.call(far_traps.endless, 3, seconds, at_exit)
        time.sleep(0.02)
"""
LEFT_RUNNING = """
import sys, time
sys.path += sys.argv[1:3]
import far_traps, isles

at_exit, seconds = eval(sys.argv[3])
interps = [isles.create() for _ in range(3)]
for interp in interps:
    interp.call(far_traps.endless, 3, seconds, at_exit)
time.sleep(0.02)
"""


def test_leaving_own_threads_inside(made):
    """They are not told to end: what they'd do with the exception is to report it."""
    folders = str(made.folder), far.__file__.rpartition("/")[0]
    check_clean(LEFT_RUNNING, *folders, repr((False, 1000)))


@pytest.mark.parametrize("script", [OWN_THREADS, LEFT_RUNNING])
@pytest.mark.parametrize("at_exit", [True, False])
@pytest.mark.parametrize("seconds", [0.0, 0.002])
def test_ending_with_own_threads(script, at_exit, seconds, made):
    """They are joined by an atexit callback, or by nobody: it ends, and the process does."""
    folders = str(made.folder), far.__file__.rpartition("/")[0]
    start = time.monotonic()
    check_clean(script, *folders, repr((at_exit, seconds)))
    assert time.monotonic() - start < 10


def test_own_threads_go_on_if_it_does_not_end(interp, tmp_path):
    """Those that had to wait whether it ends."""
    (tmp_path / "stay").touch()
    interp.call(far_traps.own_thread_counts_until, str(tmp_path / "stay"))
    with pytest.raises(isles.InterpreterBusyError):
        interp.close()
    before = interp.call(far_traps.own_thread_count)
    (tmp_path / "stay").unlink()
    deadline = time.monotonic() + 20
    while interp.call(far_traps.own_thread_count) == before:
        assert time.monotonic() < deadline
    interp.call(far_traps.stopped_own_threads)
    interp.close()


def test_pending_call(place):
    assert place.call(far_traps.pending, 20) == [place.id] * 20


def test_pending_calls_in_four_at_once(four):
    """Main is not among them: there only the process's first thread makes such calls."""
    assert at_once(four, far_traps.pending, 100) == [[interp.id] * 100 for interp in four]


LATE_THREAD = """
import sys, time
sys.path += sys.argv[1:]
import far_traps, isles

with isles.create() as interp:
    interp.call(far_traps.call, "traps.late", "start")
time.sleep(0.6)
print("flushed", end="")
sys.exit(3)
"""


def test_thread_that_comes_too_late_does_not_hold_up_the_exit(made):
    ended = run_script(LATE_THREAD, str(made.folder), far.__file__.rpartition("/")[0])
    assert (ended.code, ended.out, ended.err) == (3, "flushed", ""), ended


# ---- modules that fail ----

FAILURES = {
    "raises": ("ValueError", "not today"),
    "returns_null": ("SystemError", "initialization of returns_null failed without raising"),
    "unreported": ("SystemError", "initialization of unreported raised unreported exception"),
    "exec_raises": ("LookupError", "no such trap"),
    "no_init": ("ImportError", "dynamic module does not define module export function"),
    "undefined": ("ImportError", "undefined symbol: trap_plain_bump"),
    "needs_missing": ("ImportError", "libtrap_missing.so: cannot open shared object file"),
    "garbage": ("ImportError", "invalid ELF header"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_failure(place, name):
    """As the standard library fails, however often; and what works goes on working."""
    kind, text = FAILURES[name]
    before = place.call(far_traps.bump, "traps.counter")
    for _ in range(2):
        found = place.call(far_traps.attempt, f"traps.{name}")
        assert found[0] == kind and text in found[1]
        assert place.call(far.has_module, f"traps.{name}") is False
    assert place.call(far_traps.bump, "traps.counter") == before + 1


def test_failure_is_not_listed(interp):
    for each in FAILURES:
        interp.call(far_traps.attempt, f"traps.{each}")
    listed = {each.name for each in interp.extensions()}
    assert not listed & {f"traps.{each}" for each in FAILURES}


# ---- what is wanted ----


def outcome(interp, name):
    """How it was loaded; "strict" or "deny" for the two ways to refuse."""
    failed = failure(interp, name)
    if failed is None:
        (how,) = [each.how for each in interp.extensions() if each.name == name]
        return how
    kind, text = failed
    assert kind == "ImportError" and name.rpartition(".")[2] in text
    if "does not support loading in subinterpreters" in text:
        return "strict"
    assert "deny" in text
    return "deny"


def test_strict(refused):
    with isles.create(extensions="strict") as interp:
        assert outcome(interp, refused) == "strict"


def test_strict_takes_what_is_ready(shared):
    with isles.create(extensions="strict") as interp:
        assert outcome(interp, shared) == "shared"


@pytest.mark.parametrize("options", [{}, {"extensions": None}, {"extensions": "private"}])
def test_private_where_needed(options):
    with isles.create(**options) as interp:
        assert outcome(interp, "traps.counter") == "private"
        assert outcome(interp, "traps.own_gil") == "shared"


POLICIES = [
    ({}, {"traps.counter": "private", "traps.own_gil": "shared"}),
    ({"traps": "deny"}, {"traps.own_gil": "deny", "traps.sub.single": "deny", "zähler": "private"}),
    ({"trap": "deny", "traps.count": "deny"}, {"traps.counter": "private"}),
    ({"traps.counter": "deny"}, {"traps.counter": "deny", "traps.find": "private"}),
    ({"traps": "deny", "traps.sub": "private"}, {"traps.sub.single": "private"}),
    ({"traps.sub": "private", "traps": "deny"}, {"traps.counter": "deny"}),
    ({"traps": "private", "traps.sub.single": "deny"}, {"traps.sub.single": "deny"}),
    ({"traps": "private"}, {"traps.own_gil": "private", "traps.counter": "private"}),
    ({"traps.own_gil": "private"}, {"traps.own_gil": "private"}),
    ({"traps": "private", "traps.own_gil": "shared"}, {"traps.own_gil": "shared"}),
    ({"traps": "shared"}, {"traps.own_gil": "shared", "traps.counter": "strict"}),
    ({"zähler": "deny"}, {"zähler": "deny"}),
]


@pytest.mark.parametrize(("policy", "expected"), POLICIES)
def test_mapping(policy, expected):
    with isles.create(extensions=policy) as interp:
        policy.clear()  # it was read by then
        assert {each: outcome(interp, each) for each in expected} == expected


class Word(str):
    """Can't be made in another interpreter: that doesn't have this module."""


def test_words_of_other_types():
    policy = {Word("traps.counter"): Word("deny"), "traps.find": Word("private")}
    with isles.create(extensions=policy) as interp:
        assert outcome(interp, "traps.counter") == "deny"
        assert outcome(interp, "traps.find") == "private"


def test_mapping_is_read_once():
    class Changing(dict):
        def items(self):
            yield from list(super().items())
            self["traps"] = None

    with isles.create(extensions=Changing({"traps.counter": "deny"})) as interp:
        assert outcome(interp, "traps.counter") == "deny"


def test_forced_copy_counts_alone(shared):
    before = far_traps.bump(shared)
    with isles.create(extensions={shared: "private"}) as interp:
        assert interp.call(far_traps.bump, shared, 3) == 3
        assert interp.call(far_traps.describe, shared) == far_traps.describe(shared)
    assert far_traps.bump(shared) == before + 1


def test_refused_once_is_refused_again():
    with isles.create(extensions={"traps.counter": "deny"}) as interp:
        assert failure(interp, "traps.counter") == failure(interp, "traps.counter")
        assert interp.call(far.has_module, "traps.counter") is False
        assert listed(interp, "traps.counter") == []


@pytest.mark.parametrize(
    "wrong", ["shared", "deny", "", "nonsense", {"traps": "strict"}, {"x": ""}]
)
def test_wrong_word(wrong):
    with pytest.raises(ValueError):
        isles.create(extensions=wrong)


@pytest.mark.parametrize("wrong", [1, True, ["private"], {"traps": None}, {1: "private"}])
def test_wrong_type(wrong):
    with pytest.raises(TypeError):
        isles.create(extensions=wrong)


# ---- knowing ----


def listed(interp, name):
    return [each for each in interp.extensions() if each.name == name]


def test_listed(interp, copied, made):
    assert listed(interp, copied) == []
    interp.call(far_traps.reimport, copied)
    (entry,) = listed(interp, copied)
    assert entry.how == "private"
    assert entry.origin == made.file(copied)
    assert entry.file != entry.origin
    assert far_traps.mapped(entry.file)


def test_listed_shared(interp, shared, made):
    interp.call(far_traps.bump, shared)
    (entry,) = listed(interp, shared)
    assert (entry.how, entry.origin, entry.file) == ("shared", made.file(shared), made.file(shared))


def test_listed_by_itself(interp):
    for each in ("traps.counter", "traps.own_gil"):
        interp.call(far_traps.bump, each)
    names = interp.call(far_traps.own_extensions)
    assert ("traps.counter", "private") in names and ("traps.own_gil", "shared") in names


def test_each_has_its_own_file(four):
    at_once(four, far_traps.bump, "traps.counter")
    files = [listed(interp, "traps.counter")[0].file for interp in four]
    assert len(set(files)) == 4


def test_ended_one_lists_nothing(interp):
    interp.close()
    with pytest.raises(isles.InterpreterNotFoundError):
        interp.extensions()


def test_known_to_fail(traps, monkeypatch):
    """A package on the list is refused with its reason; a rule of the user's comes before."""
    monkeypatch.setitem(isles._KNOWN_TO_FAIL, "traps.counter", "deny:it counts wrongly")
    for extensions in ("private", {"traps.pair": "private"}):  # the default is worked out once
        with isles.create(extensions=extensions) as interp:
            with pytest.raises(isles.ExecutionFailed, match=r"ImportError: .*it counts wrongly"):
                interp.exec("import traps.counter")
    with isles.create(extensions={"traps.counter": "private"}) as interp:
        interp.exec("import traps.counter")


READLINE = """
import threading
from concurrent.futures import ThreadPoolExecutor
import isles

start = threading.Barrier(4)

def load():
    try:
        import readline
    except ImportError as error:
        return str(error)

def one(_):
    with isles.create() as interp:
        start.wait()
        return interp.call(load)

with ThreadPoolExecutor(4) as pool:
    print(*pool.map(one, range(4)), sep="\\n")
"""


def test_readline_at_once():
    """Its library sets itself up when it is loaded first: at once in several threads, it crashed.
    pytest imports it, and so do pdb and code."""
    pytest.importorskip("readline")
    for _ in range(3):
        lines = check_clean(READLINE).splitlines()
        assert len(lines) == 4 and all("terminal" in line for line in lines)


def test_the_list_has_reasons():
    assert all(rule.startswith("deny:") for rule in isles._KNOWN_TO_FAIL.values())
