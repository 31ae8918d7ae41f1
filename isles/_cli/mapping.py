"""``python -m isles map``."""

import argparse
import contextlib
import glob
import json
import os
import signal
import sys
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import Final, NoReturn

import isles

from . import map_remote
from .errors import INTERRUPTED, READER_GONE, WRONG_USAGE, UsageError
from .map_progress import Screen
from .map_workers import Outcome, Workers

PATIENCE: Final = 1.0  # seconds after Ctrl-C for writing what is done


def run(options: argparse.Namespace) -> int:
    inputs = gather(options)
    total = len(inputs) if isinstance(inputs, list) else None
    workers = Workers(
        map_remote.call,
        inputs,
        count=options.jobs if total is None else max(1, min(options.jobs, total)),
        setup=map_remote.prepare,
        setup_args=options.target,
    )
    screen = Screen(total)
    try:
        with stopped_by_ctrl_c(workers), workers:
            failed = write_all(workers, screen)
    except isles.ExecutionFailed as failure:
        leave(WRONG_USAGE, explain_setup(failure, options.target[0]))
    except KeyboardInterrupt:
        leave(INTERRUPTED)
    except BrokenPipeError:
        leave(READER_GONE)
    except (OSError, isles.InterpreterError) as error:
        leave(1, str(error))
    return 1 if failed else 0


# Inputs


def gather(options: argparse.Namespace) -> Iterable[str]:
    """All inputs as a list, or the lines of standard input as they come."""
    if options.inputs or options.glob:
        return [*options.inputs, *(name for one in options.glob for name in matches(one))]
    if sys.stdin is None or sys.stdin.isatty():
        raise UsageError("no inputs: give them as arguments, by --glob or on standard input")
    return lines()


def matches(pattern: str) -> list[str]:
    names = sorted(name for name in glob.iglob(pattern, recursive=True) if os.path.isfile(name))
    if not names:
        raise UsageError(f"no file matches {pattern!r}")
    return names


def lines() -> Iterator[str]:
    """Lines of standard input; bytes that aren't text become surrogates, as in file names."""
    sys.stdin.reconfigure(errors="surrogateescape")  # type: ignore[union-attr]
    for line in sys.stdin:
        yield line.removesuffix("\n")


# Results


def write_all(workers: Workers, screen: Screen) -> int:
    """Write each outcome when its turn has come; how many failed."""
    done = failed = 0
    try:
        for batch in workers.batches(screen.tick):
            failed += report_failures(batch, screen)
            done += len(batch)
            if batch:
                screen.results("".join(map(as_line, batch)))
            screen.progress(done, failed)
    finally:
        screen.clear()
    if failed:
        screen.report(f"isles map: {failed} of {done} inputs failed\n")
    return failed


def report_failures(batch: list[Outcome], screen: Screen) -> int:
    failed = 0
    for outcome in batch:
        if outcome.failure is not None:
            failed += 1
            screen.report(explain(outcome.item, outcome.failure))
    return failed


def as_line(outcome: Outcome) -> str:
    """One line of JSON, all ASCII: any input can be written, whatever the terminal's encoding."""
    start = f'{{"input": {json.dumps(outcome.item)}, '
    if outcome.failure is None:
        return f'{start}"result": {outcome.value}}}\n'
    info = outcome.failure.excinfo
    error = {"type": type_name(outcome.failure), "message": info.msg or ""}
    return f'{start}"error": {json.dumps(error)}}}\n'


def type_name(failure: isles.ExecutionFailed) -> str:
    return getattr(failure.excinfo.type, "__name__", None) or "Exception"


def display(failure: isles.ExecutionFailed) -> str:
    info = failure.excinfo
    return (info.errdisplay or info.formatted or str(failure)).rstrip("\n")


def explain(item: str, failure: isles.ExecutionFailed) -> str:
    return f"isles map: input {item!r} failed:\n{display(failure)}\n"


def explain_setup(failure: isles.ExecutionFailed, module: str) -> str:
    if type_name(failure) == map_remote.TargetError.__name__:
        return str(failure.excinfo.msg)
    return f"can't import {module!r}: {failure.excinfo.formatted}\n{display(failure)}"


# Ends before the end


@contextlib.contextmanager
def stopped_by_ctrl_c(workers: Workers) -> Iterator[None]:
    """SIGINT stops them between two lines of output, never within one.

    Should the output take no more (a full pipe that nobody reads), an alarm ends the process.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        workers.interrupt()
        signal.setitimer(signal.ITIMER_REAL, PATIENCE)

    def give_up(number: int, frame: FrameType | None) -> None:
        os._exit(INTERRUPTED)

    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as under nohup or in the background
        yield
        return
    signal.signal(signal.SIGALRM, give_up)
    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def leave(code: int, message: str = "") -> NoReturn:
    """End the process now.

    Calls that still run can't be interrupted, and a worker may be blocked in reading standard
    input: an orderly exit would wait for the first for seconds and abort over the second. All
    results are flushed by now, so nothing is lost by not waiting.
    """
    with contextlib.suppress(OSError, ValueError):
        if message:
            print(f"isles map: {message}", file=sys.stderr)
        sys.stderr.flush()
    os._exit(code)
