#!/usr/bin/env python3
"""Run NumPy's own tests in isolated interpreters, each with a NumPy of its own.

    run.py FOLDER [--slow] [FILE]...

Each folder of tests runs three times, in processes of its own: in the main interpreter, in an
isolated one, and in two of them at once.  Each test has to end in the isolated ones as in main, but
for those in the tables of docs/design/numpy.md.  After a crash or a hang the folder runs again
without the test that it happened in.

FILE names some of the tests, as "lib/tests/test_io.py".  --slow: those too that NumPy calls slow.
FOLDER gets the results and what pytest printed.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy

HERE = Path(__file__).parent
PAGE = HERE.parent.parent / "docs/design/numpy.md"
NUMPY = Path(numpy.__file__).parent

PLACES = {"main": 1, "one": 1, "two": 2}  # how many interpreters
LIMIT = 240  # seconds for a test
SHOWN = 100  # differences; results.json has all
RESTARTS = 8  # of a folder, after which the rest of it is given up
MEMORY = "2GB"  # tests that need more are skipped: several run at once

OPTIONS = [
    *("-q", "--tb=short", "-rfE", f"--rootdir={NUMPY.parent}", f"--available-memory={MEMORY}"),
    "--continue-on-collection-errors",
    # faulthandler keeps a process-wide file object; so are the file descriptors that are captured
    # otherwise, and the folder of the cache.
    *("-p", "no:faulthandler", "-p", "no:cacheprovider", "--capture=sys"),
]

# What became of a test in an interpreter: "passed", "failed", "skipped", "xfailed", "xpassed", or
# "crashed", "hung".
Outcomes = dict[str, str]


def main(folder: str, *arguments: str) -> int:
    slow, wanted = "--slow" in arguments, [name for name in arguments if name != "--slow"]
    out = Path(folder).resolve()
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    (out / "pytest.ini").write_text("[pytest]\n")  # not isles', which lies above
    options = [*OPTIONS, "-c", str(out / "pytest.ini"), *(() if slow else ("-m", "not slow"))]
    jobs = [
        (group, places, out / "-".join(("numpy", *group[0].parts[:-2], places)), options)
        for group in groups(wanted)
        for places in PLACES
    ]
    start = time.monotonic()
    results: dict[str, list[Outcomes]] = {place: [{}] * number for place, number in PLACES.items()}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for (_, places, *_), found in zip(jobs, pool.map(lambda job: run_group(*job), jobs)):
            results[places] = [old | new for old, new in zip(results[places], found)]
    (out / "results.json").write_text(json.dumps(results, indent=1))
    return report(results, whole=not wanted, seconds=time.monotonic() - start)


def groups(wanted: list[str]) -> list[list[Path]]:
    """The files with tests, relative to NumPy, a list for each folder, the largest folder first."""
    if wanted:
        files = [Path(name) for name in wanted]
    else:
        files = [path.relative_to(NUMPY) for path in sorted(NUMPY.rglob("tests/test_*.py"))]
    found: dict[Path, list[Path]] = {}
    for file in files:
        found.setdefault(file.parent, []).append(file)
    size = {folder: sum((NUMPY / f).stat().st_size for f in found[folder]) for folder in found}
    return sorted(found.values(), key=lambda files: -size[files[0].parent])


def run_group(files: list[Path], places: str, folder: Path, options: list[str]) -> list[Outcomes]:
    """Run a folder's tests in `places`; what became of each in each interpreter."""
    start = time.monotonic()
    results: list[Outcomes] = [{} for _ in range(PLACES[places])]
    without: list[str] = []
    for attempt in range(RESTARTS):
        work = folder / str(attempt)
        work.mkdir(parents=True)
        deselect = [f"--deselect={name}" for name in without]
        paths = [str(NUMPY / file) for file in files]
        ending = run_child(places, work, [*options, *deselect, *paths])
        last = []
        for number, result in enumerate(results):
            found, running = read(work / f"records-{number}")
            result |= found
            if ending and running:
                result[running] = ending
                last.append(running)
        shutil.rmtree(work / "temp-0", ignore_errors=True)
        shutil.rmtree(work / "temp-1", ignore_errors=True)
        if not ending:
            break
        print(f"--- {folder.name}: {ending}: {' and '.join(last) or 'not in a test'}", flush=True)
        if not last:  # at the end, or before the first: no use to try again
            for result in results:
                result[f"{folder.name}::end"] = ending
            break
        without += last
    else:
        results[0][f"{folder.name}::rest"] = "given up"
    counts = Counter(outcome for result in results for outcome in result.values())
    text = ", ".join(f"{count} {outcome}" for outcome, count in counts.most_common())
    print(f"{folder.name}: {text} ({time.monotonic() - start:.0f} s)", flush=True)
    return [{plain(name): outcome for name, outcome in result.items()} for result in results]


def run_child(places: str, folder: Path, arguments: list[str]) -> str | None:
    """Run tests in a process; None, or how it ended if not well."""
    with open(folder / "output", "w") as output:
        child = subprocess.Popen(
            [sys.executable, "-P", HERE / "child.py", places, folder, *arguments],
            cwd=folder,
            env=os.environ | {"PATH": f"{sys.prefix}/bin:{os.environ['PATH']}"},  # Meson, for some
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
        try:
            while (code := poll(child)) is None:
                if seconds_since_a_line(folder) > LIMIT:
                    return "hung"
        finally:
            child.kill()
            child.wait()
    if code == 0:
        return None
    return f"crashed ({signal.Signals(-code).name if code < 0 else f'exit code {code}'})"


def poll(child: subprocess.Popen) -> int | None:
    try:
        return child.wait(timeout=5)
    except subprocess.TimeoutExpired:
        return None


def seconds_since_a_line(folder: Path) -> float:
    return time.time() - max(path.stat().st_mtime for path in [*folder.glob("records-*"), folder])


def read(records: Path) -> tuple[Outcomes, str | None]:
    """What is written there: outcomes, and the test that was running."""
    outcomes: Outcomes = {}
    running = None
    for name, outcome in lines(records):
        if outcome is None:
            running = name
        elif outcome == "ended":
            running = None
        elif outcomes.get(name, "passed") == "passed":  # the worst of its phases
            outcomes[name] = outcome
    return outcomes, running


def lines(records: Path) -> Iterator[tuple[str, str | None]]:
    if records.exists():
        for line in records.read_text().splitlines():
            with contextlib.suppress(json.JSONDecodeError):  # the last one, of a process that died
                yield json.loads(line)


def plain(name: str) -> str:
    """A test's name without what differs from run to run: addresses."""
    return re.sub(r"\b0x[0-9a-f]+", "0x", name)


def table(heading: str) -> dict[str, str]:
    """The table below a heading of the page: the starts of tests' names, and the reasons."""
    _, _, rest = PAGE.read_text().partition(f"\n## {heading}\n")
    section, _, _ = rest.partition("\n## ")
    return dict(re.findall(r"^\| `([^`]+)` \| (.+) \|$", section, re.MULTILINE))


def report(results: dict[str, list[Outcomes]], whole: bool, seconds: float) -> int:
    """Print the outcome; 1 if it isn't the one that the page describes."""
    (reference,) = results["main"]
    one, two = table("In one"), table("In two at once")
    wrong = 0
    for places, known in (("one", one), ("two", one | two)):
        met = set()
        for number, outcomes in enumerate(results[places]):
            for name in sorted(reference.keys() | outcomes.keys()):
                here, there = reference.get(name, "not run"), outcomes.get(name, "not run")
                if here == there:
                    continue
                reasons = [listed for listed in known if is_listed(name, listed)]
                met.update(reasons)
                if not reasons:
                    wrong += 1
                    if wrong <= SHOWN:
                        print(f"{places}[{number}]: {name}: {there}, in main {here}")
        if whole:
            for listed in known.keys() - met:
                print(f"{places}: {listed} is listed, but behaves as in main")
    print(f"\nNumPy {numpy.__version__}, Python {sys.version.split()[0]}, {seconds:.0f} s")
    for places in PLACES:
        for outcomes in results[places]:
            counts = Counter(outcomes.values()).most_common()
            print(f"{places:5}", ", ".join(f"{count} {outcome}" for outcome, count in counts))
    passed = sum(outcome == "passed" for outcome in reference.values())
    everywhere = sum(
        all(outcomes.get(name) == "passed" for place in results.values() for outcomes in place)
        for name in reference
    )
    print(f"=== numpy: {everywhere} of {passed} passed everywhere, {wrong} other differences ===")
    return 1 if wrong or not reference else 0


def is_listed(name: str, listed: str) -> bool:
    """Whether the name is a listed one, or below it: a file of a folder, a test of a file ..."""
    rest = name.removeprefix(f"numpy/{listed}")
    return rest != name and (not rest or rest.startswith(("/", "::", "[")))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
