"""Interpreters made, used and closed in several threads at once, while others look on."""

import gc
import os
import subprocess
import sys
import textwrap
import threading
import time

import pytest

import isles

THREADS = 4
SECONDS = 2.0
NOT_MINE = (isles.InterpreterNotFoundError, isles.InterpreterBusyError)


class Crowd:
    """Threads that repeat bodies until the time is over; the first exception is raised."""

    def __init__(self, seconds=SECONDS):
        self.until = time.monotonic() + seconds
        self.errors = []
        self.rounds = {}
        self.threads = []

    def add(self, body, count=1):
        self.rounds.setdefault(body.__name__, 0)
        self.threads += [threading.Thread(target=self._run, args=(body,)) for _ in range(count)]

    def _run(self, body):
        try:
            while time.monotonic() < self.until and not self.errors:
                body()
                self.rounds[body.__name__] += 1  # roughly: only that it is above 0 matters
        except BaseException as error:
            self.errors.append(error)

    def run(self):
        for thread in self.threads:
            thread.start()
        for thread in self.threads:
            thread.join()
        if self.errors:
            raise self.errors[0]
        assert all(self.rounds.values()), self.rounds


@pytest.fixture(autouse=True)
def nothing_is_left():
    gc.collect()
    before = [i.id for i in isles.list_all()]
    yield
    gc.collect()
    assert [i.id for i in isles.list_all()] == before


def cycle():
    interp = isles.create()
    interp.exec("x = [1, 2]")
    assert interp.call(sum, [1, 2]) == 3
    interp.close()


def dropped():
    interp = isles.create()
    assert interp.call(abs, -2) == 2


def shared():
    with isles.create(isolated=False) as interp:
        assert interp.call(abs, -2) == 2


def look():
    listed = isles.list_all()
    assert listed[0].id == 0
    assert [i.id for i in listed] == sorted({i.id for i in listed})
    for interp in listed:
        try:
            interp.is_running()
            interp.whence
            isles.Interpreter(interp.id)
        except isles.InterpreterNotFoundError:
            pass
    time.sleep(0.001)


def test_create_use_close():
    crowd = Crowd()
    crowd.add(cycle, THREADS)
    crowd.run()


def test_with_onlookers():
    crowd = Crowd()
    crowd.add(cycle, 2)
    crowd.add(dropped)
    crowd.add(shared)
    crowd.add(look, 2)
    crowd.run()


def test_everybody_closes_everybodys():
    """Each succeeds or is told why; nobody is left and nobody is closed twice."""
    made, closed = [], []

    def make():
        interp = isles.create()
        made.append(interp)
        for _ in range(5):
            try:
                assert interp.call(abs, -3) == 3
            except NOT_MINE:
                pass

    def end():
        for interp in made[-20:]:
            try:
                interp.close()
                closed.append(interp.id)
            except NOT_MINE:
                pass
        time.sleep(0.001)

    crowd = Crowd()
    crowd.add(make, THREADS)
    crowd.add(end, 2)
    crowd.add(look)
    crowd.run()
    for interp in made:
        try:
            interp.close()
            closed.append(interp.id)
        except isles.InterpreterNotFoundError:
            pass
    assert sorted(closed) == sorted(i.id for i in made)


def test_many_threads_in_a_few():
    interps = [isles.create() for _ in range(3)]

    def visit():
        for interp in interps:
            try:
                assert interp.call(abs, -4) == 4
            except isles.InterpreterBusyError:
                pass

    def short():
        thread = threading.Thread(target=visit)
        thread.start()
        thread.join()

    crowd = Crowd()
    crowd.add(visit, 2)
    crowd.add(short, THREADS)
    crowd.run()
    for interp in interps:
        interp.close()


def test_beside_interpreters_of_others():
    std = pytest.importorskip("_interpreters")

    def others():
        id = std.create()
        interp = isles.Interpreter(id)
        with pytest.raises(isles.InterpreterError, match="unrecognized"):
            interp.exec("pass")
        with pytest.raises(isles.InterpreterError, match="unrecognized"):
            interp.close()
        assert std.exec(id, "x = 1") is None
        std.destroy(id)

    crowd = Crowd()
    crowd.add(others, 2)
    crowd.add(cycle, 2)
    crowd.add(look)
    crowd.run()


# ---- memory ----

GROWTH = """
import sys, threading, os
def resident():
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
{setup}
def work(count):
    for _ in range(count):
        one()
def all_threads(count):
    threads = [threading.Thread(target=work, args=(count,)) for _ in range(4)]
    for t in threads: t.start()
    for t in threads: t.join()
all_threads(5)
before = resident()
all_threads({count})
print(resident() - before)
"""

OURS = """
import isles
def one():
    interp = isles.create()
    interp.exec("x = 1")
    interp.close()
"""

THEIRS = """
import _interpreters as std
def one():
    id = std.create()
    std.exec(id, "x = 1")
    std.destroy(id)
"""


def growth(setup, count=25):
    script = GROWTH.format(setup=textwrap.dedent(setup), count=count)
    done = subprocess.run(
        [sys.executable, "-P", "-c", script], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return float(done.stdout)


@pytest.mark.slow
@pytest.mark.skipif("LD_PRELOAD" in os.environ, reason="a sanitizer keeps freed memory")
def test_memory_grows_no_more_than_with_the_standard_library():
    """Loosely: 100 cycles in four threads; bench/ measures more of them."""
    pytest.importorskip("_interpreters")
    ours, theirs = growth(OURS), growth(THEIRS)
    assert ours < 1.5 * theirs + 10, (ours, theirs)


REDIRECTED = """
import isles, isles.logging, logging
logging.getLogger().addHandler(logging.NullHandler())
def one():
    interp = isles.create(stdout=len, stderr=isles.create_queue())
    isles.logging.forward(interp)
    interp.exec("import logging, threading; print(1); logging.warning('x')")
    interp.close()
"""


@pytest.mark.slow
@pytest.mark.skipif("LD_PRELOAD" in os.environ, reason="a sanitizer keeps freed memory")
@pytest.mark.skipif(sys.version_info < (3, 14), reason="there plain interpreters leave 2 MB behind")
def test_redirected_output_leaves_nothing_behind():
    """One object that is left keeps 2 MB of its interpreter: of 100 it would be 200."""
    assert growth(REDIRECTED) < 50
