"""What tests do with the modules of tests/extensions/, in whichever interpreter."""

import atexit
import gc
import importlib
import importlib.machinery
import importlib.resources
import importlib.util
import inspect
import os
import pickle
import sys
import threading
import time
import weakref

import isles


def call(name, function, *args):
    """Import the module and call a function of it."""
    return getattr(importlib.import_module(name), function)(*args)


def bump(name, times=1):
    module = importlib.import_module(name)
    for _ in range(times):
        count = module.bump()
    return count


def attempt(name):
    """Import it; what that raised, if anything, as (name of the type, text)."""
    try:
        importlib.import_module(name)
    except Exception as error:
        return type(error).__name__, str(error)


def import_soon(names, ready):
    """Import them a moment after saying that it is ready; when that was done."""
    ready.put(None)
    time.sleep(0.2)
    for name in names:
        importlib.import_module(name)
    return time.monotonic()


def anew(name):
    """Import it, forget it and import it again: both modules."""
    first = importlib.import_module(name)
    del sys.modules[name]
    return first, importlib.import_module(name)


# ---- identity ----


def describe(name):
    """All by which a module is known."""
    module = importlib.import_module(name)
    spec = module.__spec__
    return {
        "__name__": module.__name__,
        "__package__": module.__package__,
        "__file__": module.__file__,
        "__doc__": module.__doc__,
        "spec": (spec.name, spec.origin, spec.parent, spec.has_location),
        "found": importlib.util.find_spec(name).origin,
        "loader": (module.__loader__ is spec.loader, spec.loader.get_filename(name)),
        "is_package": spec.loader.is_package(name),
        "is extension": isinstance(spec.loader, importlib.machinery.ExtensionFileLoader),
        "getfile": inspect.getfile(module),
        "getmodule": inspect.getmodule(module.bump) is module,
        "bump": (module.bump.__module__, module.bump.__self__ is module),
        "in package": is_attribute(module),
        "in sys.modules": sys.modules[name] is module,
        "attributes": sorted(vars(module)),
    }


def is_attribute(module):
    """Whether its package has it as an attribute, as `import` leaves it there."""
    package, _, name = module.__name__.rpartition(".")
    return not package or getattr(sys.modules[package], name) is module


def data_of(package):
    """What importlib.resources finds in it."""
    files = importlib.resources.files(package)
    return str(files), files.joinpath("data.txt").read_text()


def reload(name):
    module = importlib.import_module(name)
    return importlib.reload(module) is module


def reimport(name):
    """Whether it is the same module, and by how much the second one counts on."""
    first, second = anew(name)
    before = first.bump()
    return first is second, second.bump() - before


def second_of_pair():
    """A module out of the file of another one; how both count, one after the other."""
    first = importlib.import_module("traps.pair")
    name = "traps.second"
    loader = importlib.machinery.ExtensionFileLoader(name, first.__file__)
    spec = importlib.util.spec_from_file_location(name, first.__file__, loader=loader)
    second = importlib.util.module_from_spec(spec)
    loader.exec_module(second)
    steps = [first.bump(), second.bump(), first.bump()]
    return second.__name__, second.__file__ == first.__file__, [n - steps[0] for n in steps]


# ---- types ----


def exercise(name, times):
    """Use all that the module has; how far bump() counted."""
    module = importlib.import_module(name)
    for number in range(times):
        count = module.bump()
        if hasattr(module, "Node"):
            assert collected(module, 3) == 3
        if hasattr(module, "Heap"):
            made = module.make_heap(number)
            assert type(made) is module.Heap and isinstance(made, module.Static)
            assert pickle.loads(pickle.dumps(made)).value == number
        if hasattr(module, "push"):
            assert module.push(str(number)) == number + 1
        if hasattr(module, "keep"):
            kept = [number]
            module.keep(kept)
            assert module.kept() is kept
        if hasattr(module, "start"):
            assert set(own_threads(2, 2)) == {isles.get_current().id}
    return count


def collected(module, count):
    """Make rings of objects of a subclass; how many the collector found."""

    class Sub(module.Node):
        pass

    refs = []
    for _ in range(count):
        ring = Sub()
        ring.child = module.Node([module.Node(ring)])
        assert isinstance(ring, module.Node) and module.is_node(ring) and not module.is_node(refs)
        refs.append(weakref.ref(ring))
    del ring
    gc.collect()
    return sum(ref() is None for ref in refs)


def collected_nodes(count):
    return collected(importlib.import_module("traps.static_type"), count)


def dumps_node(value):
    """Of an object made here."""
    return pickle.dumps(importlib.import_module("traps.static_type").Node(value))


def single():
    """What its init found, and what its types say of themselves."""
    module = importlib.import_module("traps.sub.single")
    made = module.make_heap(7)
    return (
        module.name_at_init,
        [f"{kind.__module__}.{kind.__qualname__}" for kind in (module.Static, module.Heap)],
        type(made) is module.Heap,
        made.value,
    )


def single_again():
    """Imported anew it is not begun anew: the same types."""
    first, second = anew("traps.sub.single")
    return first.Heap is second.Heap, first.Static is second.Static, second.inits()


def single_without_import():
    """Loaded from its file, not imported, it is a module to import all the same."""
    file = importlib.util.find_spec("traps.sub.single").origin
    spec = importlib.util.spec_from_file_location("single", file)
    module = importlib.util.module_from_spec(spec)
    return sys.modules.pop("single", None) is module


def value_of(number):
    """Of a Static or Heap that came from elsewhere, if it is this interpreter's."""
    module = importlib.import_module("traps.sub.single")
    assert type(number) in (module.Static, module.Heap)
    return number.value


def found_by_state():
    """What PyState_FindModule finds after import, remove, add and importing anew."""
    module = importlib.import_module("traps.find")
    steps = [module.found() is module]
    module.forget()
    steps.append(module.found() is None)
    module.add(module)
    steps.append(module.found() is module)
    first, second = anew("traps.find")
    steps.append(first is module and second.found() is second)
    return steps


def state_memory():
    """Imported anew it has new memory, and the old one goes on with its own."""
    first, second = anew("traps.state_memory")
    before = first.push("x")
    return first.push("y") - before, second.push("z"), first.push("y") - before


def binds_here():
    """Whether what its init imported is what this interpreter has."""
    module = importlib.import_module("traps.binds")
    node = importlib.import_module("traps.static_type").Node
    return module.is_node(node()), module.interpreter_at_init


def inner(name):
    """Of the module that a module has made: its name, and whether both count the same."""
    module = importlib.import_module(name)
    before = module.bump()
    return module.inner.__name__, module.inner.bump() - before


def faulthandler_here():
    """Whether it is enabled, and what using it raises."""
    import faulthandler

    kinds = []
    for name, *args in (
        ("enable",),
        ("disable",),
        ("register", 10),
        ("unregister", 10),
        ("dump_traceback_later", 5),
        ("cancel_dump_traceback_later",),
    ):
        try:
            getattr(faulthandler, name)(*args)
        except Exception as error:
            kinds.append(type(error).__name__)
    with open(os.devnull, "w") as file:
        faulthandler.dump_traceback(file)
    return faulthandler.is_enabled(), kinds


# ---- libraries ----


def libraries():
    """Where each module has its library."""
    names = "needs_python", "needs_python_too", "needs_deep"
    return [call(f"traps.{name}", "library") for name in names]


def bump_by_ctypes(file):
    """In a library that nothing but ctypes opens."""
    import ctypes

    return ctypes.CDLL(file).trap_plain_bump()


def keep_in_library(value):
    """Through one module; what the others find there is that very object."""
    kept = [value]
    call("traps.needs_python", "keep", kept)
    others = "needs_python_too", "needs_deep"
    return [call(f"traps.{name}", "kept") is kept for name in others]


# ---- threads ----


def thread_counts(name, times):
    """How far bump_thread() counts on this thread and on a new one."""
    module = importlib.import_module(name)
    counts = []

    def count():
        counts.append([module.bump_thread() for _ in range(times)][-1])

    count()
    thread = threading.Thread(target=count)
    thread.start()
    thread.join()
    return counts


def own_threads(threads, times):
    """The interpreters in which calls from the module's own threads arrive."""
    module = importlib.import_module("traps.own_thread")
    seen = []

    def arrive():
        seen.append(isles.get_current().id)
        assert threading.get_ident() != caller

    caller = threading.get_ident()
    for _ in range(threads):
        module.start(arrive, times)
    module.join()
    return seen


def endless(threads, seconds=0.0, at_exit=False):
    """Threads of the module's own that call here again and again, each call taking that long."""
    module = importlib.import_module("traps.own_thread")
    if at_exit:
        atexit.register(module.stop)

    def spin():
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            pass

    for _ in range(threads):
        module.start(spin, sys.maxsize)


def stopped_own_threads():
    call("traps.own_thread", "stop")


def own_thread_counts_until(file):
    """A thread of the module's counts in a list; another one stays inside while the file exists."""
    module = importlib.import_module("traps.own_thread")
    module.counts = []

    inside = threading.Event()

    def stay():
        inside.set()
        while os.path.exists(file):
            time.sleep(0.001)

    module.start(stay)
    module.start(lambda: (module.counts.append(1), time.sleep(0.001)), sys.maxsize)
    assert inside.wait(20)


def own_thread_count():
    return len(importlib.import_module("traps.own_thread").counts)


def call_here():
    """The same on this thread: the interpreter, and whether it is this thread."""
    seen = []
    call(
        "traps.own_thread",
        "call_here",
        lambda: seen.append((isles.get_current().id, threading.get_ident())),
    )
    return seen == [(isles.get_current().id, threading.get_ident())]


def garbage_from_own_thread(count):
    """Objects made on the module's thread and dropped on this one, and the other way round."""
    module = importlib.import_module("traps.own_thread")
    mine = [[str(number)] for number in range(count)]
    made = []

    def swap():
        mine.clear()
        made.extend([str(number)] for number in range(count))

    module.start(swap)
    module.join()
    return len(mine), len(made)


def pending(times):
    """The interpreters in which pending calls arrive."""
    seen = []
    for number in range(1, times + 1):
        call("traps.pending", "later", lambda: seen.append(isles.get_current().id))
        end = time.monotonic() + 20
        while len(seen) < number:
            assert time.monotonic() < end
    return seen


# ---- what was loaded ----


def own_extensions():
    """As the interpreter sees it from inside."""
    return [(each.name, each.how) for each in isles.get_current().extensions()]


def mapped(path):
    """Whether the file is in the process's memory; its name may be gone by then."""
    with open("/proc/self/maps") as maps:
        return any(line.rstrip("\n").removesuffix(" (deleted)").endswith(path) for line in maps)
