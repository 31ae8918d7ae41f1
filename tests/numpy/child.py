"""NumPy's tests of some folders, in a process of their own: run.py.

child.py PLACES FOLDER ARGUMENT...: pytest with the arguments in the main interpreter ("main"), in
an isolated one ("one"), or in two at once ("two").  In FOLDER, each of them writes lines as a test
begins and ends, to records-0 and records-1, and what pytest prints to log-0 and log-1.
"""

import sys
from concurrent.futures import ThreadPoolExecutor

import isles


def run(number: int, folder: str, arguments: list[str]) -> None:
    """Run pytest in the current interpreter."""
    import json
    import os
    import sys
    import types

    import pytest

    if isles.get_current() != isles.get_main():
        # CPython's refuses isolated interpreters, and many tests are in files that import it.
        stand_in = sys.modules["tracemalloc"] = types.ModuleType("tracemalloc")
        stand_in.is_tracing = lambda: False  # type: ignore[attr-defined]
        stand_in.get_object_traceback = lambda _: None  # type: ignore[attr-defined]

    class Recorder:
        """A line for each start of a test, and for each of its phases that says something."""

        def __init__(self, path: str) -> None:
            self.fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)

        def write(self, *line: str | None) -> None:
            os.write(self.fd, json.dumps(line).encode() + b"\n")  # at once: a crash may come

        def pytest_runtest_logstart(self, nodeid: str) -> None:
            self.write(nodeid, None)

        def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
            outcome = report.outcome
            if hasattr(report, "wasxfail"):
                outcome = "xfailed" if outcome == "skipped" else "xpassed"
            if report.when == "call" or outcome != "passed":
                self.write(report.nodeid, outcome)

        def pytest_runtest_logfinish(self, nodeid: str) -> None:
            self.write(nodeid, "ended")

        def pytest_collectreport(self, report: pytest.CollectReport) -> None:
            if report.outcome != "passed":
                self.write(report.nodeid, "failed" if report.failed else "skipped")

    sys.stdout = sys.stderr = open(f"{folder}/log-{number}", "w", buffering=1)
    code = pytest.main(arguments, plugins=[Recorder(f"{folder}/records-{number}")])
    if pytest.ExitCode(code).name not in ("OK", "TESTS_FAILED", "NO_TESTS_COLLECTED"):
        raise RuntimeError(f"pytest: {code!r}")


def main(places: str, folder: str, *arguments: str) -> None:
    own = [[*arguments, f"--basetemp={folder}/temp-{number}"] for number in range(2)]
    if places == "main":
        run(0, folder, own[0])
    elif places == "one":
        with isles.create() as interp:
            interp.call(run, 0, folder, own[0])
    else:
        with isles.create() as first, isles.create() as second, ThreadPoolExecutor(1) as pool:
            other = pool.submit(second.call, run, 1, folder, own[1])
            first.call(run, 0, folder, own[0])
            other.result()


if __name__ == "__main__":
    main(*sys.argv[1:])
