"""isles.warm(): interpreters ready to be taken, closed ones that end behind."""

import os
import sys
import threading
import time
import warnings
from functools import partial

import pytest
from child_process import check_clean, forks, run_script

import isles
from isles import _interpreters

WAIT = 20.0


@pytest.fixture(autouse=True)
def off():
    before = len(isles.list_all())
    yield
    assert isles.warm(0, wait=WAIT) == 0
    assert len(isles.list_all()) == before


def from_stock(make=isles.create):
    """Make an interpreter; and whether it was there before."""
    _interpreters._stock_hold()  # nothing is added meanwhile
    try:
        with isles.create(extensions={"no": "deny"}) as newest:
            interp = make()
            return interp, interp.id < newest.id
    finally:
        _interpreters._stock_release()


def taken(make=isles.create):
    interp, was_ready = from_stock(make)
    interp.close()
    return was_ready


# ---- taking ----


def test_off_by_default():
    assert _interpreters._stock_state()[0] == 0
    assert not taken()


def test_taken_and_refilled():
    assert isles.warm(2, wait=WAIT) == 2
    assert taken()
    assert isles.warm(2, wait=WAIT) == 2


def test_one_that_is_taken_is_like_any_other():
    isles.warm(1, wait=WAIT)
    interp, was_ready = from_stock()
    cold = isles.create(isolated=True, extensions={"x": "deny"})
    assert was_ready
    with interp, cold:
        assert interp in isles.list_all()
        assert interp.whence == cold.whence
        assert not interp.is_running()
        assert isles.Interpreter(interp.id) is interp
        for value in ("__import__('sys').path", "sorted(__import__('sys').modules)"):
            assert interp.call(eval, value) == cold.call(eval, value)
        assert interp.call(eval, "sorted(globals())") == cold.call(eval, "sorted(globals())")


def test_quick():
    isles.warm(4, wait=WAIT)
    times = []
    for _ in range(4):
        start = time.perf_counter()
        interp = isles.create()
        times.append(time.perf_counter() - start)
        del interp
    assert min(times) < 0.0005  # some µs, on a machine that does nothing else


def test_each_is_used_once():
    isles.warm(3, wait=WAIT)
    ids = []
    for _ in range(20):
        with isles.create() as interp:
            assert "mark" not in interp.call(eval, "list(globals())")
            interp.exec("mark = 1")
            ids.append(interp.id)
    assert len(set(ids)) == 20


def test_hidden_until_taken():
    before = isles.list_all()
    last = isles.create()
    isles.warm(3, wait=WAIT)
    assert isles.list_all() == [*before, last]
    for id in range(last.id + 1, last.id + 4):
        with pytest.raises(isles.InterpreterNotFoundError):
            isles.Interpreter(id)
        for function in (_interpreters.is_running, _interpreters.whence, _interpreters.destroy):
            with pytest.raises(isles.InterpreterNotFoundError):
                function(id)
    last.close()


def test_ends_with_its_last_object():
    isles.warm(1, wait=WAIT)
    interp, was_ready = from_stock()
    assert was_ready
    id = interp.id
    del interp
    with pytest.raises(isles.InterpreterNotFoundError):
        isles.Interpreter(id)


def test_taken_by_another_interpreter():
    with isles.create() as interp:
        interp.exec("import isles; from isles import _interpreters")
        isles.warm(1, wait=WAIT)
        _interpreters._stock_hold()  # nothing is added meanwhile
        try:
            interp.exec("with isles.create() as other: assert other.call(eval, '1') == 1")
            assert _interpreters._stock_state()[0] == 0
        finally:
            _interpreters._stock_release()


# ---- what it does not hand out ----


def test_only_where_a_new_one_would_be_the_same():
    isles.warm(1, wait=WAIT)
    assert not taken(lambda: isles.create(isolated=False))
    assert not taken(lambda: isles.create(extensions="strict"))
    assert not taken(lambda: isles.create(extensions={"numpy": "shared"}))
    assert taken(lambda: isles.create(extensions="private"))


def test_follows_sys_path(monkeypatch, tmp_path):
    isles.warm(1, wait=WAIT)
    monkeypatch.syspath_prepend(str(tmp_path))
    interp, was_ready = from_stock()
    with interp:
        assert not was_ready and interp.call(eval, "__import__('sys').path[0]") == str(tmp_path)
    assert isles.warm(1, wait=WAIT) == 1
    interp, was_ready = from_stock()
    with interp:
        assert was_ready and interp.call(eval, "__import__('sys').path[0]") == str(tmp_path)


def test_another_path_elsewhere_changes_nothing():
    isles.warm(1, wait=WAIT)
    with isles.create(extensions="strict") as interp:
        interp.exec("import sys; sys.path.append('/nowhere'); import isles; isles.create().close()")
    assert isles.warm(1, wait=WAIT) == 1
    assert taken()


def test_follows_the_environment(monkeypatch):
    isles.warm(1, wait=WAIT)
    monkeypatch.setenv("ISLES_TEST_STOCK", "1")
    interp, was_ready = from_stock()
    with interp:
        assert not was_ready
        assert interp.call(os.environ.get, "ISLES_TEST_STOCK") == "1"
    assert isles.warm(1, wait=WAIT) == 1
    interp, was_ready = from_stock()
    with interp:
        assert was_ready
        assert interp.call(os.environ.get, "ISLES_TEST_STOCK") == "1"
    monkeypatch.delenv("ISLES_TEST_STOCK")
    interp, was_ready = from_stock()
    with interp:
        assert not was_ready
        assert interp.call(os.environ.get, "ISLES_TEST_STOCK") is None


def test_follows_the_default_extensions():
    out = check_clean("""if True:
        import isles
        isles.warm(1, wait=20)
        isles.set_default_extensions({"_json": "deny"})
        with isles.create() as interp:
            try:
                interp.exec("import _json")
            except isles.ExecutionFailed as error:
                print(error.excinfo.type.__name__)
        isles.warm(1, wait=20)
        with isles.create() as interp:
            try:
                interp.exec("import _json")
            except isles.ExecutionFailed as error:
                print(error.excinfo.type.__name__)
    """)
    assert out.split() == ["ImportError", "ImportError"]


def test_a_module_that_is_written_later_is_found(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(tmp_path))
    isles.warm(1, wait=WAIT, preload=["json"])
    (tmp_path / "stock_late.py").write_text("value = 5")
    with isles.create() as interp:
        assert interp.call(eval, "__import__('stock_late').value") == 5


# ---- preload ----


def test_preload():
    assert isles.warm(2, preload=["json", "concurrent.futures"], wait=WAIT) == 2
    for _ in range(2):
        interp, was_ready = from_stock()
        with interp:
            assert was_ready
            modules = interp.call(eval, "list(__import__('sys').modules)")
            assert {"json", "concurrent.futures"} <= set(modules)
            assert "json" not in interp.call(eval, "list(globals())")


def test_preload_of_isles_itself():
    isles.warm(1, preload=["isles", "isles.futures"], wait=WAIT)
    interp, was_ready = from_stock()
    with interp:
        assert was_ready
        interp.exec("import isles; assert isles.get_current() in isles.list_all()")


def test_preload_that_is_changed():
    isles.warm(1, preload=["json"], wait=WAIT)
    isles.warm(1, preload=["decimal"], wait=WAIT)
    with isles.create() as interp:
        modules = interp.call(eval, "list(__import__('sys').modules)")
        assert "decimal" in modules and "json" not in modules


def test_preload_that_fails_is_raised_and_changes_nothing():
    isles.warm(1, preload=["json"], wait=WAIT)
    with pytest.raises(isles.ExecutionFailed, match="no_such_module") as caught:
        isles.warm(1, preload=["no_such_module"], wait=WAIT)
    assert caught.value.excinfo.type.__name__ == "ModuleNotFoundError"
    assert _interpreters._stock_state()[0] == 1
    with isles.create() as interp:
        assert "json" in interp.call(eval, "list(__import__('sys').modules)")


def test_preload_that_fails_later_ends_the_stock(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(tmp_path))
    module = tmp_path / "stock_fails.py"
    module.write_text("")
    isles.warm(1, preload=["stock_fails"], wait=WAIT)
    module.write_text("raise ValueError('no more')")
    assert taken()
    deadline = time.monotonic() + WAIT
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        while not caught and time.monotonic() < deadline:
            isles.create().close()
            time.sleep(0.01)
    assert "no more" in str(caught[0].message) and caught[0].category is RuntimeWarning
    assert _interpreters._stock_state()[0] == 0
    isles.create().close()  # and not a word more


def test_preload_that_fails_later_is_raised_by_who_waits(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(tmp_path))
    module = tmp_path / "stock_fails_too.py"
    module.write_text("import os\nif os.path.exists(__file__ + '.stop'): raise ValueError('late')")
    isles.warm(1, preload=["stock_fails_too"], wait=WAIT)
    (tmp_path / "stock_fails_too.py.stop").write_text("")
    with pytest.raises(isles.ExecutionFailed, match="late"):
        isles.warm(2, preload=["stock_fails_too"], wait=WAIT)
    assert _interpreters._stock_state()[0] == 0


# ---- arguments ----


@pytest.mark.parametrize(
    ("args", "kwargs", "error"),
    [
        ((-1,), {}, ValueError),
        (("1",), {}, TypeError),
        ((1.5,), {}, TypeError),
        ((2**40,), {}, OverflowError),
        ((1,), {"preload": "json"}, TypeError),
        ((1,), {"preload": [1]}, TypeError),
        ((1,), {"preload": 1}, TypeError),
        ((1,), {"wait": "x"}, TypeError),
    ],
)
def test_refused(args, kwargs, error):
    with pytest.raises(error):
        isles.warm(*args, **kwargs)
    assert _interpreters._stock_state()[0] == 0


def test_refused_elsewhere():
    with isles.create() as interp:
        with pytest.raises(isles.ExecutionFailed, match="main interpreter only"):
            interp.call(isles.warm, 1)


def test_more_and_fewer():
    assert isles.warm(4, wait=WAIT) == 4
    assert isles.warm(1, wait=WAIT) == 1
    assert isles.warm(2, wait=WAIT) == 2
    assert isles.warm(0, wait=WAIT) == 0
    assert not taken()


def test_wait_has_a_deadline():
    start = time.monotonic()
    assert isles.warm(500, wait=0.05) < 500
    assert time.monotonic() - start < 5
    isles.warm(0)


# ---- closing ----


def test_closed_looks_ended_at_once():
    isles.warm(4, wait=WAIT)
    interp = isles.create()
    queue = isles.create_queue(unbounditems=isles.UNBOUND_REMOVE)
    interp.call(put, queue)
    assert queue.qsize() == 1
    _interpreters._stock_hold()  # it can't have ended then
    try:
        interp.close()
        assert interp not in isles.list_all()
        assert queue.qsize() == 0
        for use in (interp.is_running, interp.close, partial(interp.exec, "1")):
            with pytest.raises(isles.InterpreterNotFoundError):
                use()
        with pytest.raises(isles.InterpreterNotFoundError):
            isles.Interpreter(interp.id)
    finally:
        _interpreters._stock_release()


def put(queue):
    queue.put(1)


def test_closing_waits_for_nothing_up_to_a_bound(tmp_path):
    isles.warm(2, wait=WAIT)
    interps = [isles.create() for _ in range(3)]
    for number, interp in enumerate(interps):
        interp.exec(f"import atexit; atexit.register(open, {str(tmp_path / str(number))!r}, 'w')")
    _interpreters._stock_hold()
    try:
        for interp in interps:
            interp.close()
        assert [path.name for path in tmp_path.iterdir()] == ["2"]  # beyond it, by the caller
    finally:
        _interpreters._stock_release()
    isles.warm(2, wait=WAIT)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1", "2"]


def test_errors_of_closing_stay():
    isles.warm(2, wait=WAIT)
    interp = isles.create()
    thread = interp.call_in_thread(exec, "import time; time.sleep(0.5)")
    while not interp.is_running():
        time.sleep(0.001)
    with pytest.raises(isles.InterpreterBusyError):
        interp.close()
    thread.join()
    interp.close()
    with pytest.raises(isles.InterpreterNotFoundError):
        interp.close()


def test_closing_one_with_threads_waits_for_them(tmp_path):
    isles.warm(2, wait=WAIT)
    path = tmp_path / "done"
    interp = isles.create()
    interp.exec(f"""if True:
        import threading, time
        def job():
            time.sleep(0.2)
            open({str(path)!r}, "w").close()
        threading.Thread(target=job).start()
    """)
    interp.close()
    assert path.exists()


def test_lent_memory_stays():
    isles.warm(2, wait=WAIT)
    interp = isles.create()
    view = interp.call(bytearray, b"x" * 100_000)
    interp.close()
    isles.warm(2, wait=WAIT)
    assert bytes(view) == b"x" * 100_000
    view.release()


def test_with_block_and_last_object(tmp_path):
    isles.warm(4, wait=WAIT)
    with isles.create() as interp:
        interp.exec(f"import atexit; atexit.register(open, {str(tmp_path / 'a')!r}, 'w')")
    last = isles.create()
    last.exec(f"import atexit; atexit.register(open, {str(tmp_path / 'b')!r}, 'w')")
    del last
    isles.warm(4, wait=WAIT)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_what_fails_while_it_ends_is_reported():
    script = """if True:
        import isles
        isles.warm(1, wait=20)
        interp = isles.create()
        interp.exec("import atexit; atexit.register(lambda: 1 / 0)")
        interp.close()
        isles.warm(1, wait=20)
    """
    ended = run_script(script)
    assert ended.code == 0 and "ZeroDivisionError" in ended.err, ended


# ---- the end of the process ----


@pytest.mark.parametrize("n", [1, 100])
def test_exit(n):
    ended = run_script(f"import isles, sys; isles.warm({n}, wait=20); sys.exit(3)")
    assert (ended.code, ended.err) == (3, ""), ended


@pytest.mark.parametrize("n", [1, 50])
def test_exit_while_it_is_filled(n):
    script = f"import isles, sys; isles.warm({n}); isles.create(); sys.exit(3)"
    ended = run_script(script)
    assert (ended.code, ended.err) == (3, ""), ended
    assert ended.seconds < 4, ended


STUCK = pytest.param(
    "time.sleep(60)",
    id="stuck",
    marks=pytest.mark.skipif(
        hasattr(sys, "gettotalrefcount"), reason="debug builds abort if one is left behind"
    ),
)


# As a file does that is left open when the import is interrupted.
WARNS = """
 try:
  while True: pass
 finally:
  import warnings
  warnings.warn("interrupted")
"""

# Whoever interrupts it must not wait for it.
HOLDS_WARNINGS = """
 import warnings
 def simplefilter(*args):
  while True: pass
 warnings.simplefilter = warnings.showwarning = simplefilter
 with warnings.catch_warnings():
  warnings.warn("in the way")
"""


@pytest.mark.parametrize(
    "body",
    [
        STUCK,
        pytest.param("\n while True: pass", id="runs"),
        pytest.param(WARNS, id="warns"),
        pytest.param(HOLDS_WARNINGS, id="holds warnings"),
    ],
)
def test_exit_while_it_imports(tmp_path, body):
    (tmp_path / "stock_slow.py").write_text(
        f"import os, time\nif os.path.exists(__file__ + '.slow'):{body}\n"
    )
    script = f"""if True:
        import sys, time
        sys.path.insert(0, {str(tmp_path)!r})
        import isles
        isles.warm(1, preload=["stock_slow"], wait=20)
        open({str(tmp_path / "stock_slow.py.slow")!r}, "w").close()
        isles.warm(2, preload=["stock_slow"], wait=0.3)
        start = time.monotonic()
        import atexit
        atexit.register(lambda: print(time.monotonic() - start))
        sys.exit(3)
    """
    ended = run_script(script)
    assert (ended.code, ended.err) == (3, ""), ended
    assert float(ended.out) < 2, ended


def test_exit_with_closed_ones_that_wait():
    script = """if True:
        import isles, sys
        from isles import _interpreters
        isles.warm(3, wait=20)
        interps = [isles.create() for _ in range(3)]
        for interp in interps:
            interp.exec("import atexit; atexit.register(print, 'over', flush=True)")
        _interpreters._stock_hold()
        for interp in interps:
            interp.close()
        sys.exit(3)
    """
    ended = run_script(script)
    assert (ended.code, ended.err) == (3, ""), ended
    assert ended.out == "over\n" * 3


def test_exit_by_an_exception_and_by_a_signal():
    ended = run_script("import isles; isles.warm(3, wait=20); raise ValueError('x')")
    assert ended.code == 1 and ended.err.endswith("ValueError: x\n"), ended
    script = "import isles; isles.warm(3); print(1, flush=True); isles.warm(10_000, wait=60)"
    ended = run_script(script, interrupt=True)
    assert ended.code in (-2, 1) and ended.err.endswith("KeyboardInterrupt\n"), ended
    assert ended.seconds < 8


def test_interrupted_while_it_imports(tmp_path):
    (tmp_path / "stock_forever.py").write_text("print(1, flush=True)\nwhile True: pass\n")
    script = f"""if True:
        import sys
        sys.path.insert(0, {str(tmp_path)!r})
        import isles
        try:
            isles.warm(1, preload=["stock_forever"])
        except KeyboardInterrupt:
            print("interrupted")
    """
    ended = run_script(script, interrupt=True)
    assert (ended.code, ended.err, ended.out) == (0, "", "1\ninterrupted\n"), ended


@forks
def test_fork():
    out = check_clean("""if True:
        import os, warnings
        import isles
        from isles import _interpreters
        warnings.simplefilter("ignore")  # several threads
        isles.warm(3, wait=20)
        interps = [isles.create() for _ in range(2)]
        interps.pop().close()
        child = os.fork()
        if child == 0:
            assert _interpreters._stock_state()[0] == 0
            assert [i.id for i in isles.list_all()] == [0]
            isles.create().close()
            assert isles.warm(2, wait=20) == 2
            with isles.create() as interp:
                print(interp.call(eval, "40 + 2"), flush=True)
            assert isles.warm(0, wait=20) == 0
            print("end", flush=True)
            os._exit(0)  # debug builds miss the parent's interpreters
        _, status = os.waitpid(child, 0)
        assert status == 0
        assert isles.warm(3, wait=20) == 3
        print("end", flush=True)
    """)
    assert out.split() == ["42", "end", "end"]


@forks
def test_forks_while_it_is_filled():
    out = check_clean(
        """if True:
        import os, warnings
        import isles
        warnings.simplefilter("ignore")  # several threads
        for round in range(20):
            isles.warm(2, preload=["json"] if round % 2 else ["decimal"])
            child = os.fork()
            if child == 0:
                with isles.create() as interp:
                    interp.exec("import json")
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
            isles.create().close()
        print("well")
    """,
        timeout=60,
    )
    assert out == "well\n"


# ---- many at once ----


@pytest.mark.parametrize("n", [1, 3])
def test_many_threads(n):
    """Threads that make and close while others change the stock; each gets its own."""
    isles.warm(n)
    ids: list[int] = []
    errors: list[BaseException] = []

    def use(number):
        try:
            for turn in range(8):
                with isles.create() as interp:
                    assert interp.call(eval, "'mark' in globals()") is False
                    interp.exec("mark = 1")
                    ids.append(interp.id)
                if number == 0:
                    isles.warm((n, n + 2, 0, n)[turn % 4], preload=["json"][: turn % 2])
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=use, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors, errors
    assert len(ids) == len(set(ids)) == 48


def test_priority():
    """Its thread is nicer than we are, and those of the process are not."""
    isles.warm(1, wait=WAIT)
    nices = []
    for task in os.listdir("/proc/self/task"):
        with open(f"/proc/self/task/{task}/stat") as stat:
            nices.append(int(stat.read().rpartition(")")[2].split()[16]))
    mine = os.getpriority(os.PRIO_PROCESS, 0)
    assert sorted(set(nices)) == sorted({mine, min(mine + 5, 19)})
