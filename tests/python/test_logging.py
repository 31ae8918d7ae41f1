"""isles.logging: log records of interpreters, in the main interpreter's loggers."""

import collections
import logging
import threading

import pytest
from child_process import check_clean

import isles
import isles.logging


class Keep(logging.Handler):
    """Keeps records, and their text as a formatter of main's writes it."""

    def __init__(self):
        super().__init__()
        self.records, self.texts = [], []

    def emit(self, record):
        self.records.append(record)
        self.texts.append(self.format(record))


@pytest.fixture
def kept():
    """What arrives at main's root logger, which is at INFO; loggers are as they were afterwards."""
    handler, root = Keep(), logging.getLogger()
    handler.setFormatter(
        logging.Formatter("%(levelname)s %(name)s %(interpreterName)s: %(message)s")
    )
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield handler
    root.removeHandler(handler)
    root.setLevel(before)


def log(name, level, *args, **kwargs):
    import logging

    logging.getLogger(name).log(level, *args, **kwargs)


def test_a_record_arrives_in_the_logger_of_its_name(kept):
    own = Keep()
    logger = logging.getLogger("test.records")
    logger.addHandler(own)
    try:
        with isles.create(name="crunch") as interp:
            isles.logging.forward(interp)
            interp.call(log, "test.records", logging.INFO, "%s and %d", "one", 2)
            interp.call(log, None, logging.WARNING, "to the root")
    finally:
        logger.removeHandler(own)
    assert kept.texts == [
        "INFO test.records crunch: one and 2",
        "WARNING root crunch: to the root",
    ]
    (record,) = own.records
    assert record.interpreter == interp.id
    assert record.interpreterName == "crunch"
    assert record.args is None and record.msg == record.getMessage() == "one and 2"
    assert record.funcName == "log" and record.filename == "test_logging.py"
    assert abs(record.relativeCreated - (record.created - logging._startTime / 1e9) * 1000) < 100


def test_main_decides_what_is_handled(kept):
    quiet, closed = logging.getLogger("test.quiet"), logging.getLogger("test.closed")
    chosen = logging.getLogger("test.chosen")
    quiet.setLevel(logging.ERROR)
    closed.disabled = True
    chosen.setLevel(logging.DEBUG)
    chosen.addFilter(lambda record: "drop" not in record.getMessage())
    try:
        with isles.create() as interp:
            isles.logging.forward(interp)
            for name in ("test.quiet", "test.closed", "test.chosen", "test.other"):
                for level in (logging.DEBUG, logging.INFO, logging.ERROR):
                    interp.call(log, name, level, "%s", level)
            interp.call(log, "test.chosen", logging.ERROR, "drop this")
    finally:
        quiet.setLevel(logging.NOTSET)
        closed.disabled = False
        chosen.setLevel(logging.NOTSET)
        chosen.filters.clear()
    found = collections.Counter((record.name, record.levelno) for record in kept.records)
    assert found == collections.Counter(
        [
            ("test.quiet", logging.ERROR),
            *(("test.chosen", level) for level in (logging.DEBUG, logging.INFO, logging.ERROR)),
            *(("test.other", level) for level in (logging.INFO, logging.ERROR)),
        ]
    )


def test_the_level_of_what_is_sent(kept):
    with isles.create() as interp:
        isles.logging.forward(interp, level="WARNING")
        interp.call(log, None, logging.INFO, "below")
        interp.exec("import logging; assert logging.getLogger().getEffectiveLevel() == 30")
        interp.call(log, None, logging.WARNING, "once")
        isles.logging.forward(interp, level=logging.INFO)
        interp.call(log, None, logging.INFO, "twice")
    assert [record.msg for record in kept.records] == ["once", "twice"]


def fail():
    import logging

    try:
        raise LookupError("lost")
    except LookupError:
        logging.exception("failed", stack_info=True)


def test_tracebacks_are_text(kept):
    with isles.create() as interp:
        isles.logging.forward(interp)
        interp.call(fail)
    (record,) = kept.records
    assert record.exc_info is None
    assert record.exc_text.endswith("LookupError: lost")
    assert 'raise LookupError("lost")' in record.exc_text
    assert record.stack_info.startswith("Stack (most recent call last)")
    assert record.exc_text in kept.texts[0] and record.stack_info in kept.texts[0]


def test_what_can_not_be_pickled(kept):
    with isles.create() as interp:
        isles.logging.forward(interp)
        interp.exec("""
import datetime, logging, sys
class Here:
    def __repr__(self): return "<here>"
day = datetime.date(2026, 11, 25)
extra = {"odd": lambda: 1, "here": Here(), "day": day, "parts": [1, {"a": 2}]}
logging.warning("%s %r", Here(), sys.stdout.buffer, extra=extra)
logging.warning(Here())
""")
    first, second = kept.records
    assert first.msg.startswith("<here> <") and second.msg == "<here>"
    assert first.odd.startswith("<function <lambda>") and first.here == "<here>"
    assert str(first.day) == "2026-11-25" and first.day.year == 2026
    assert first.parts == [1, {"a": 2}]


def test_arguments_that_do_not_fit(kept):
    errors = []
    with isles.create(stderr=errors.append) as interp:
        isles.logging.forward(interp)
        interp.call(log, None, logging.ERROR, "%d %d", 1)
        interp.call(log, None, logging.ERROR, "and on")
    assert [record.msg for record in kept.records] == ["and on"]
    assert "--- Logging error ---\n" in errors


def test_a_handler_of_main_that_raises(kept, monkeypatch):
    errors = []
    monkeypatch.setattr(threading, "excepthook", lambda args: errors.append(args.exc_value))
    logger = logging.getLogger("test.raises")
    logger.addFilter(lambda record: 1 / 0)
    try:
        with isles.create() as interp:
            isles.logging.forward(interp)
            interp.call(log, "test.raises", logging.ERROR, "lost")
            interp.call(log, "test.other", logging.ERROR, "kept")
    finally:
        logger.filters.clear()
    assert [record.msg for record in kept.records] == ["kept"]
    assert [type(error) for error in errors] == [ZeroDivisionError]


def test_handlers_inside_have_it_as_well(kept):
    with isles.create(stdout=(lines := []).append) as interp:
        interp.exec("import logging, sys; logging.basicConfig(stream=sys.stdout, level=30)")
        isles.logging.forward(interp)
        interp.exec("logging.warning('both')")
    assert lines == ["WARNING:root:both\n"]
    assert [record.msg for record in kept.records] == ["both"]


@pytest.mark.parametrize(("level", "error"), [("nonsense", ValueError), (1.5, TypeError)])
def test_what_is_no_level(interp, level, error):
    with pytest.raises(error):
        isles.logging.forward(interp, level=level)
    with pytest.raises(error):
        isles.logging.forwarder(level)


def test_main_is_refused():
    with pytest.raises(isles.InterpreterError):
        isles.logging.forwarder()()
    with pytest.raises(isles.InterpreterError):
        isles.logging.forward(isles.get_main())
    assert not any(type(each).__name__ == "_Handler" for each in logging.getLogger().handlers)


@pytest.mark.parametrize("stocked", [False, True])
def test_with_a_stock(kept, stocked):
    isles.warm(2 if stocked else 0, wait=10, preload=["isles.logging"] if stocked else [])
    try:
        for n in range(3):
            with isles.create() as interp:
                isles.logging.forward(interp)
                interp.call(log, None, logging.INFO, n)
            assert [record.msg for record in kept.records] == [str(each) for each in range(n + 1)]
    finally:
        isles.warm(0, wait=10)


def test_an_executor(kept):
    with isles.InterpreterPoolExecutor(
        2, "crew", initializer=isles.logging.forwarder("INFO"), max_tasks_per_child=5
    ) as pool:
        for n in range(40):
            pool.submit(log, "test.pool", logging.INFO, n)
    assert sorted(int(record.msg) for record in kept.records) == list(range(40))
    assert {record.interpreterName for record in kept.records} <= {"crew_0", "crew_1"}


def begin(forward, name):
    import logging

    forward()
    logging.info("begun %s", name)


def test_an_initializer_may_call_it(kept):
    with isles.InterpreterPoolExecutor(
        1, initializer=begin, initargs=(isles.logging.forwarder(), "it")
    ) as pool:
        pool.submit(log, None, logging.INFO, "task").result()
    assert [record.msg for record in kept.records] == ["begun it", "task"]


INNER = """
import isles, isles.logging, logging, threading
inner = isles.create(name="inner")

def forward():
    isles.logging.forward(inner)

def log():
    inner.exec("import logging; logging.warning('from inside')")
    inner.close()
    with isles.InterpreterPoolExecutor(1, initializer=isles.logging.forwarder()) as pool:
        pool.submit(logging.warning, "from a pool inside").result()

def on_a_thread(func):
    errors = []
    def run():
        try:
            func()
        except isles.InterpreterError as error:
            errors.append(error)
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return bool(errors)
"""


def test_an_interpreter_made_inside_one(kept):
    with isles.create() as outer:
        outer.exec(INNER)
        outer.exec("assert on_a_thread(forward)  # nobody knows the way")
        outer.exec("forward(); log()")
    assert [record.msg for record in kept.records] == ["from inside", "from a pool inside"]
    assert kept.records[0].interpreterName == "inner"
    assert kept.records[0].interpreter > outer.id


def test_inside_one_that_forwards_any_thread_may(kept):
    with isles.create() as outer:
        isles.logging.forward(outer)
        outer.exec(INNER)
        outer.exec("assert not on_a_thread(forward)")
        outer.exec("assert not on_a_thread(log)")
    assert [record.msg for record in kept.records] == ["from inside", "from a pool inside"]


def many(number, count):
    import logging
    import threading

    def run(thread):
        logger = logging.getLogger(f"test.many.{number}.{thread}")
        for n in range(count):
            logger.info("%d", n)

    threads = [threading.Thread(target=run, args=(n,)) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_many_at_once(kept):
    interps = [isles.create() for _ in range(4)]
    for interp in interps:
        isles.logging.forward(interp)
    threads = [each.call_in_thread(many, n, 1000) for n, each in enumerate(interps)]
    for thread in threads:
        thread.join()
    for interp in interps:
        interp.close()
    by_name = collections.defaultdict(list)
    for record in kept.records:
        by_name[record.name].append(int(record.msg))
    assert len(by_name) == 8
    assert all(numbers == list(range(1000)) for numbers in by_name.values())


def test_the_process_waits_for_records():
    script = """
import isles, isles.logging, logging, sys, time
class Slow(logging.StreamHandler):
    def emit(self, record):
        time.sleep(0.01)
        super().emit(record)
logging.basicConfig(handlers=[Slow(sys.stdout)], format="%(message)s")
interp = isles.create()
isles.logging.forward(interp)
interp.exec("import atexit, logging; atexit.register(logging.warning, 'at exit')")
interp.exec("for n in range(150): logging.warning(n)")
"""
    assert check_clean(script).split("\n") == [*map(str, range(150)), "at exit", ""]


def test_without_handlers_it_is_as_in_logging():
    script = """
import isles, isles.logging, logging, sys
sys.stderr = sys.stdout
with isles.create() as interp:
    isles.logging.forward(interp)
    interp.exec("import logging; logging.info('not'); logging.warning('last resort')")
"""
    assert check_clean(script) == "last resort\n"


def test_workers_that_log_end_without_a_word():
    script = """
import isles, logging, sys
def log(n):
    logging.basicConfig(stream=sys.stdout, format="%(message)s")
    logging.warning(n)
with isles.InterpreterPoolExecutor(1) as pool:
    pool.submit(log, 1).result()
"""
    assert check_clean(script) == "1\n"
