#!/usr/bin/env python3
"""Run CPython's own tests of `concurrent.interpreters` and of its executor with isles instead.

    run.py FOLDER [FILE[.CLASS[.TEST]]]...

FOLDER becomes a virtual environment in whose interpreters, all of them, `concurrent.interpreters`
is the shim beside this file; in the tests of the executor `concurrent.futures.interpreter` is, too.
The tables of docs/design/conformance.md say which tests are left out, which run with ISLES_STRICT
and which fail.  It is an error if another one fails, if one of these passes or does not exist, and
if fewer than 95% pass.
"""

import importlib.util
import json
import os
import re
import subprocess
import sys
import sysconfig
import tempfile
import venv
from pathlib import Path

HERE = Path(__file__).parent
PAGE = HERE.parent.parent / "docs/design/conformance.md"
FUTURES = "test_concurrent_futures"
FILES = (
    "test_api",
    "test_lifecycle",
    "test_queues",
    "test_stress",
    f"{FUTURES}.test_interpreter_pool",
    f"{FUTURES}.test_as_completed",
    f"{FUTURES}.test_init",
    f"{FUTURES}.test_shutdown",
)
GOAL = 0.95
LIMIT = 240  # seconds for a file


def main(folder: str, *wanted: str) -> int:
    if sys.version_info < (3, 15):
        sys.exit("the tests are those of CPython 3.15: run `make conformance`")
    python = make_environment(Path(folder))
    left_out, strict = table("Left out"), table("Strict")
    results = {}
    for file in FILES:
        results |= run_file(python, file, wanted, [*left_out, *strict])
    for file in dict.fromkeys(map(file_of, strict)):
        results |= run_file(python, file, wanted, [*left_out], [*strict], ISLES_STRICT="1")
    return report(results, whole=not wanted)


def make_environment(folder: Path) -> Path:
    """Make the virtual environment; return its Python."""
    venv.create(folder, clear=True, symlinks=True)
    variables = {"base": str(folder), "platbase": str(folder)}
    site = Path(sysconfig.get_path("purelib", "venv", variables))
    shim, futures = str(HERE / "shim/concurrent"), str(HERE / "shim/futures")
    lines = [*map(folder_of, ("isles", "cloudpickle"))]
    lines.append(f"import concurrent; concurrent.__path__.insert(0, {shim!r})")
    lines.append(
        "import os; 'ISLES_FUTURES' in os.environ and"
        f" __import__('concurrent.futures').futures.__path__.insert(0, {futures!r})"
    )
    (site / "isles.pth").write_text("\n".join(lines) + "\n")
    return folder / "bin/python"


def folder_of(module: str) -> str:
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        sys.exit(f"{module} is not installed for {sys.executable}")
    return str(Path(spec.origin).parent.parent)


def file_of(name: str) -> str:
    """The file of FILES that a test is in."""
    return next(file for file in FILES if name.startswith(f"{file}."))


def table(heading: str) -> dict[str, str]:
    """The table below a heading of the page: the tests' names and the reasons."""
    _, _, rest = PAGE.read_text().partition(f"\n## {heading}\n")
    section, _, _ = rest.partition("\n## ")
    return dict(re.findall(r"^\| `(test_[\w.]+)` \| (.+) \|$", section, re.MULTILINE))


def run_file(
    python: Path,
    file: str,
    wanted: tuple[str, ...],
    without: list[str],
    only: list[str] | None = None,
    **variables: str,
) -> dict[str, str]:
    """Run the tests of a file in a process of their own; return what became of each."""
    print(f"--- {file}", *variables, flush=True)
    if file.startswith(FUTURES):
        variables["ISLES_FUTURES"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        answers = Path(folder) / "answers"
        selection = json.dumps([file, [wanted, only or ()], without])
        try:
            subprocess.run(
                [python, "-P", HERE / "child.py", answers, selection],
                cwd=folder,
                env=os.environ | variables,
                stdin=subprocess.DEVNULL,
                timeout=LIMIT,
            )
        except subprocess.TimeoutExpired:
            print(f"{file} took more than {LIMIT} s")
        lines = answers.read_text().splitlines() if answers.exists() else [f'["{file}", "crashed"]']
    return dict(json.loads(line) for line in lines)


def report(results: dict[str, str], whole: bool) -> int:
    """Print the outcome; 1 if it isn't the one that the page describes."""
    run = {name: result for name, result in results.items() if result != "skipped"}
    failed = {name for name, result in run.items() if result != "passed"}
    known, strict = table("Failing").keys(), table("Strict").keys()
    wrong = [f"{name}: {run[name]}" for name in sorted(failed - known)]
    if whole:
        wrong += [f"{name}: listed as failing, but it doesn't" for name in sorted(known - failed)]
        wrong += [f"{name}: listed as strict, but not found" for name in strict - results.keys()]
    share = 1 - len(failed) / len(run) if run else 0
    if whole and share < GOAL:
        wrong.append(f"fewer than {GOAL:.0%} passed")
    for line in wrong:
        print("FAILED", line)
    print(
        f"=== conformance: {len(run) - len(failed)} of {len(run)} passed ({share:.1%}),"
        f" {len(run.keys() & strict)} of these {len(run)} with ISLES_STRICT,"
        f" {len(results) - len(run)} skipped by CPython ==="
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
