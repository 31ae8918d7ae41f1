"""The tests of one file, in a process of their own: run.py.

Writes a line for each test: its name and "not run", then again with what became of it.
"""

import _interpreters
import contextlib
import importlib
import json
import sys
import unittest
from collections.abc import Iterator
from concurrent import interpreters
from pathlib import Path

from test import support
from test.test_interpreters import utils

PACKAGE = "test.test_interpreters."
FUTURES = "test_concurrent_futures."


def clean_up_interpreters() -> None:
    """End what a test leaves: isles and the standard library end only what they made."""
    for interp in interpreters.list_all()[1:]:
        try:
            interp.close()
        except interpreters.InterpreterError:
            try:
                _interpreters.destroy(interp.id)
            except _interpreters.InterpreterError:
                pass  # it has ended


@contextlib.contextmanager
def interpreter_obj_from_capi(self, config="legacy"):
    """As in utils, without the private parameters of Interpreter."""
    with self.interpreter_from_capi(config) as id:
        yield interpreters.Interpreter(id), id


class Result(unittest.TextTestResult):
    """Writes down each test's outcome as soon as it is known: a later one may end the process."""

    answers: Path

    def write(self, test: unittest.TestCase, outcome: str) -> None:
        with self.answers.open("a") as file:
            print(json.dumps([name_of(test), outcome]), file=file)

    def startTest(self, test: unittest.TestCase) -> None:
        super().startTest(test)
        self.outcome = "passed"
        self.write(test, "did not end")

    def stopTest(self, test: unittest.TestCase) -> None:
        super().stopTest(test)
        self.write(test, self.outcome)

    def addSubTest(self, test, subtest, error) -> None:
        super().addSubTest(test, subtest, error)
        if error is not None:
            self.outcome = "failed"

    def addFailure(self, test, error) -> None:
        super().addFailure(test, error)
        self.outcome = "failed"

    def addError(self, test, error) -> None:
        super().addError(test, error)
        self.outcome = "failed"

    def addExpectedFailure(self, test, error) -> None:
        super().addExpectedFailure(test, error)
        self.outcome = "skipped"  # what CPython does not have either

    def addSkip(self, test, reason) -> None:
        super().addSkip(test, reason)
        self.outcome = "skipped"


def name_of(test: unittest.TestCase) -> str:
    return test.id().removeprefix(PACKAGE).removeprefix("test.")


def load(file: str) -> list[unittest.TestCase]:
    """The tests of a file; of executors only those of this one."""
    if not file.startswith(FUTURES):
        return [*cases(unittest.defaultTestLoader.loadTestsFromName(PACKAGE + file))]
    from test.test_concurrent_futures import util

    _interpreters.NotShareableError = interpreters.NotShareableError
    module = importlib.import_module(f"test.{file}")
    if file.endswith("test_shutdown"):  # which leaves it out
        own = (util.InterpreterPoolMixin,)
        util.create_executor_tests(vars(module), module.ExecutorShutdownTest, executor_mixins=own)
    suite = unittest.defaultTestLoader.loadTestsFromModule(module)
    return [test for test in cases(suite) if isinstance(test, util.InterpreterPoolMixin)]


def cases(suite: unittest.TestSuite) -> Iterator[unittest.TestCase]:
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from cases(test)
        else:
            yield test


def is_among(test: unittest.TestCase, names: list[str]) -> bool:
    """Whether it, its class or its file is named."""
    return any(f"{name_of(test)}.".startswith(f"{name}.") for name in names)


def main(answers: str, selection: str) -> None:
    utils.clean_up_interpreters = clean_up_interpreters
    utils.TestBase.interpreter_obj_from_capi = interpreter_obj_from_capi
    support.set_memlimit("8g")  # what the tests allow for: they use a tenth of it
    Result.answers = Path(answers)
    Result.answers.touch()
    file, filters, without = json.loads(selection)
    tests = [test for test in load(file) if not is_among(test, without)]
    for names in filter(None, filters):
        tests = [test for test in tests if is_among(test, names)]
    result = Result(unittest.runner._WritelnDecorator(sys.stderr), descriptions=True, verbosity=1)
    for test in tests:
        result.write(test, "not run")
    unittest.TestSuite(tests).run(result)
    result.printErrors()


if __name__ == "__main__":
    main(*sys.argv[1:])
