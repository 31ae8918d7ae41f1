"""The measurements. Each group yields rows; what is compared alternates in short batches."""

import importlib.util
import json
import multiprocessing
import os
import shlex
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
import timeit
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from functools import cache, partial
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import work
from sides import HERE, Interp, Side

BATCH_NS = 4_000_000  # short: both sides see the same weather
CHILD_SECONDS = 300
BEGIN_SECONDS = 0.1
ENDLESS = 1 << 62
CYCLES = 2000
CYCLES_SECONDS = 50  # what both sides together may take in a default run
NOISE_KIB = 1024  # the same code grows by 70 to 340 KiB
CYCLES_KIB = 1 << 20  # and what one may leave behind (3.13: 1.5 MiB a cycle)


@dataclass
class Target:
    """The ratio must reach `bound`, or isles' own median, if `unit` is one of time; judged from
    the CPython version `since` on."""

    sense: str
    bound: float
    since: tuple[int, int] = (3, 13)
    unit: str = "x"

    def __str__(self) -> str:
        return f"{self.sense} {self.bound:g}" + (self.unit if self.unit == "x" else f" {self.unit}")

    def judge(self, row: "Row") -> bool | None:
        value = row.ratio
        if self.unit == "µs":
            value = row.isles.median / 1e3 if row.isles else None
        if value is None or sys.version_info < self.since:
            return None
        value = round(value, 2)
        return value >= self.bound if self.sense == "≥" else value <= self.bound


# The and the design's. Before 3.14 a new thread state cost 0.5 µs instead of 100 µs and
# the standard library's call took no arguments: nothing there to be 200 times faster than.
TARGETS = {
    "call(f)": Target("≥", 200, (3, 14)),
    "call(f) against the bare switch": Target("≤", 4),
    "call(f, 1, 2)": Target("≥", 100, (3, 14)),
    "call(f, small dict)": Target("≥", 100, (3, 14)),
    'exec("pass")': Target("≥", 50, (3, 14)),
    "create": Target("≥", 0.95),  # no slower; the same code on both sides differs by 5 %
    "create from a stock": Target("≥", 200, (3, 14)),  # the rest of create() costs 3.13 half
    "interrupt what computes against a process's terminate": Target("≤", 50_000, unit="µs"),
    "two interpreters against one": Target("≥", 1.95),
    "memory, idle interpreter": Target("≤", 1.1),
    "memory growth": Target("≤", 1),
    "import numpy, 1st interpreter against main": Target("≤", 1.3),
    "import numpy, 4th interpreter against main": Target("≤", 1.3),
    "import pandas, 1st interpreter against main": Target("≤", 1.3),
    "import pandas, 4th interpreter against main": Target("≤", 1.3),
    "small NumPy operations, two against one": Target("≥", 1.95),
    "put + get, an int": Target("≤", 1),
    "put + get, a small dict": Target("≤", 0.4),
    "there and back against a bare futex": Target("≤", 1.5),
    "20-user document against pickle 5": Target("≤", 0.5),
    "20-user document against marshal": Target("≤", 1),
    "10,000 ints against pickle 5": Target("≤", 0.5),
    "10,000 ints against marshal": Target("≤", 1),
    "10,000 strings against pickle 5": Target("≤", 0.5),
    "10,000 strings against marshal": Target("≤", 1),
    "100 MB bytearray against multiprocessing.Pipe": Target("≤", 50, unit="µs"),
    "100 MB ndarray against multiprocessing.Pipe": Target("≤", 50, unit="µs"),
    "a task": Target("≥", 20, (3, 14)),
    "a task against threads": Target("≤", 1),
    "a task of map, chunks of 1,000 against threads": Target("≤", 1, unit="µs"),
    "two workers against one": Target("≥", 1.95),
}


@dataclass
class Sample:
    median: float
    p10: float
    p90: float
    count: int

    @classmethod
    def of(cls, values: list[float]) -> "Sample":
        tenths = quantiles(values, n=10, method="inclusive") if len(values) > 1 else values * 9
        return cls(median(values), tenths[0], tenths[-1], len(values))


@dataclass
class Row:
    """isles and another, by default the standard library; `at`: how many or how large, in rows of
    growth."""

    name: str
    unit: str
    other: Sample | None = None
    isles: Sample | None = None
    ratio: float | None = None
    detail: str = ""
    beside: str = "stdlib"
    at: int | None = None
    notes: list[str] = field(default_factory=list)
    failed: bool = False

    def fail(self, why: str) -> None:
        self.failed = True
        self.notes.append(why)

    @property
    def title(self) -> str:
        return self.name if self.beside == "stdlib" else f"{self.name} against {self.beside}"

    @property
    def target(self) -> Target | None:
        return TARGETS.get(self.title)

    @property
    def reached(self) -> bool | None:
        return self.target.judge(self) if self.target else None

    @property
    def worse(self) -> float | None:
        """How many times slower or larger isles is; None if it isn't, or by less than 1 %."""
        more_is_better = self.unit in ("x", "/s")
        factor = over(*((self.other, self.isles) if more_is_better else (self.isles, self.other)))
        return factor if factor is not None and factor >= 1.01 else None

    @property
    def within_spread(self) -> bool:
        """Whether the two can't be told apart by what was measured."""
        one, other = self.isles, self.other
        return bool(one and other and one.p10 <= other.p90 and other.p10 <= one.p90)

    def take(self, side: str, sample: Sample) -> None:
        if side == "isles":
            self.isles = sample
        else:
            self.other = sample

    def as_json(self) -> dict[str, Any]:
        target = str(self.target) if self.target else None
        return asdict(self) | {
            "title": self.title,
            "target": target,
            "reached": self.reached,
            "worse": self.worse,
            "within_spread": self.within_spread,
        }


@dataclass
class Plan:
    stdlib: Side
    isles: Side | None
    quick: bool = False
    all_cycles: bool = False

    @property
    def sides(self) -> list[Side]:
        return [self.stdlib, self.isles] if self.isles else [self.stdlib]

    def rounds(self, count: int) -> int:
        return max(3, count // 4) if self.quick else count


Sampler = Callable[[], float | tuple[float, ...]]


def alternate(samplers: Mapping[str, Sampler], rounds: int) -> dict[str, list[Any]]:
    """Calls each sampler once a round, in the opposite order every other round."""
    taken: dict[str, list[Any]] = {name: [] for name in samplers}
    order = list(samplers)
    for _ in range(rounds):
        for name in order:
            taken[name].append(samplers[name]())
        order.reverse()
    return taken


def over(above: Sample | None, below: Sample | None) -> float | None:
    return above.median / below.median if above and below and below.median > 0 else None


def column(taken: dict[str, list[Any]], name: str, index: int | None = None) -> Sample | None:
    values = taken.get(name)
    if not values:
        return None
    return Sample.of([v if index is None else v[index] for v in values])


# --- calls and exec -----------------------------------------------------------------------------


def batches(statement: str, names: dict[str, Any]) -> Sampler:
    """A sampler of the ns that the statement takes; timeit switches gc off, the setup on again."""
    timer = timeit.Timer(statement, "import gc; gc.enable()", time.perf_counter_ns, names)
    timer.timeit(200)
    count = max(1, int(BATCH_NS / (timer.timeit(200) / 200)))
    return lambda: timer.timeit(count) / count


def compare(plan: Plan, name: str, statement: str, arguments: bool, **names: Any) -> Row:
    able = [side for side in plan.sides if side.passes_arguments or not arguments]
    with ExitStack() as stack:
        samplers = {
            side.name: batches(statement, {"interp": ready(side, stack), **names}) for side in able
        }
        taken = alternate(samplers, plan.rounds(40))
    row = Row(name, "ns", column(taken, "stdlib"), column(taken, "isles"))
    row.ratio = over(row.other, row.isles)
    if plan.stdlib not in able:
        row.notes.append(f"{plan.stdlib.what} takes no arguments")
    return row


def calls(plan: Plan) -> Iterator[Row]:
    small = {"a": 1, "b": "x", "c": 2.5}
    row = compare(plan, "call(f)", "interp.call(f)", False, f=work.nothing)
    if not plan.stdlib.passes_arguments:
        row.notes.append(f"{plan.stdlib.what} brings no result back")
    yield row
    yield compare(plan, "call(f, 1, 2)", "interp.call(f, 1, 2)", True, f=work.add)
    yield compare(plan, "call(f, small dict)", "interp.call(f, d)", True, f=work.first, d=small)


def execs(plan: Plan) -> Iterator[Row]:
    yield compare(plan, 'exec("pass")', 'interp.exec("pass")', False)


def ready(side: Side, stack: ExitStack) -> Interp:
    """An interpreter that the stack closes: before 3.14 one left over aborts the process."""
    interp = side.ready()
    stack.callback(interp.close)
    return interp


# --- the bare switch ----------------------------------------------------------------------------


def build_bare(folder: str) -> Any:
    target = Path(folder) / ("bare" + str(sysconfig.get_config_var("EXT_SUFFIX")))
    compiler = shlex.split(sysconfig.get_config_var("CC") or "cc")
    include = sorted({sysconfig.get_path("include"), sysconfig.get_path("platinclude")})
    flags = ["-O2", "-Wall", "-Wextra", "-fPIC", "-shared", *(f"-I{path}" for path in include)]
    subprocess.run(
        [*compiler, *flags, str(HERE / "bare.c"), "-o", str(target)],
        check=True,
        stderr=subprocess.PIPE,
        text=True,
    )
    spec = importlib.util.spec_from_file_location("bare", target)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def bare_module_or_error() -> Any:
    with tempfile.TemporaryDirectory(prefix="isles-bench-") as folder:
        try:
            return build_bare(folder)
        except (OSError, subprocess.CalledProcessError) as error:
            return str(getattr(error, "stderr", None) or error)


def bare_module(row: Row) -> Any | None:
    """bare.c as a module, built once; None, said in the row, if it does not build."""
    module = bare_module_or_error()
    if isinstance(module, str):
        row.fail(f"bare.c does not build: {module}")
        return None
    return module


def bare(plan: Plan) -> Iterator[Row]:
    row = Row("call(f)", "ns", beside="the bare switch")
    with ExitStack() as stack:
        module = bare_module(row)
        if module is None:
            yield row
            return
        samplers: dict[str, Sampler] = {"bare": lambda: module.measure(20_000)}
        if plan.isles:
            names = {"interp": ready(plan.isles, stack), "f": work.nothing}
            samplers["isles"] = batches("interp.call(f)", names)
        taken = alternate(samplers, plan.rounds(24))
    row.other, row.isles = column(taken, "bare", 1), column(taken, "isles")
    row.ratio = over(row.isles, row.other)
    switch = column(taken, "bare", 0)
    assert switch
    row.notes.append(f"C-level switch, call, switch; without the call {switch.median:.0f} ns")
    yield row


# --- create and close ---------------------------------------------------------------------------


def create_and_close(side: Side) -> tuple[float, float]:
    start = time.perf_counter_ns()
    interp = side.create()
    made = time.perf_counter_ns()
    interp.close()
    return made - start, time.perf_counter_ns() - made


def lives(plan: Plan) -> Iterator[Row]:
    samplers: dict[str, Sampler] = {s.name: partial(create_and_close, s) for s in plan.sides}
    alternate(samplers, 2)
    taken = alternate(samplers, plan.rounds(40))
    for index, name in enumerate(("create", "close")):
        row = Row(name, "ns", column(taken, "stdlib", index), column(taken, "isles", index))
        row.ratio = over(row.other, row.isles)
        yield row


def stocked(plan: Plan) -> Iterator[Row]:
    """The same with isles.warm(); it is full whenever one is taken."""
    if plan.isles is None:
        return
    import isles

    def from_stock(side: Side) -> tuple[float, float]:
        if isles.warm(2, wait=10) < 2:
            raise TimeoutError("the stock is not full")
        return create_and_close(side)

    samplers: dict[str, Sampler] = {
        plan.stdlib.name: partial(create_and_close, plan.stdlib),
        plan.isles.name: partial(from_stock, plan.isles),
    }
    try:
        alternate(samplers, 2)
        taken = alternate(samplers, plan.rounds(40))
    finally:
        isles.warm(0, wait=10)
    for index, name in enumerate(("create from a stock", "close with a stock")):
        row = Row(name, "ns", column(taken, "stdlib", index), column(taken, "isles", index))
        row.ratio = over(row.other, row.isles)
        yield row


# --- stopping what computes ---------------------------------------------------------------------


def stops(plan: Plan) -> Iterator[Row]:
    """From when it is told to end until it has ended."""
    if plan.isles is None:
        return
    context = multiprocessing.get_context("forkserver")
    with ExitStack() as stack:
        interp: Any = ready(plan.isles, stack)
        pool = stack.enter_context(ThreadPoolExecutor(1))

        def interrupted() -> float:
            call = pool.submit(interp.call, work.burn, ENDLESS)
            while not interp.is_running():
                time.sleep(0.001)
            time.sleep(BEGIN_SECONDS)
            start = time.perf_counter_ns()
            interp.interrupt()
            error = call.exception()
            taken = time.perf_counter_ns() - start
            assert str(error).startswith("KeyboardInterrupt"), error
            return taken

        def terminated() -> float:
            process = context.Process(target=work.burn, args=(ENDLESS,))
            process.start()
            time.sleep(BEGIN_SECONDS)
            start = time.perf_counter_ns()
            process.terminate()
            process.join()
            return time.perf_counter_ns() - start

        samplers: dict[str, Sampler] = {"terminate": terminated, "isles": interrupted}
        taken = alternate(samplers, plan.rounds(40))
    row = Row("interrupt what computes", "ns", beside="a process's terminate")
    row.other, row.isles = column(taken, "terminate"), column(taken, "isles")
    row.ratio = over(row.other, row.isles)
    yield row


# --- two interpreters against one ---------------------------------------------------------------


class SpeedUp:
    """Samples (time of two jobs one after the other) / (time of both at once)."""

    def __init__(self, jobs: list[Callable[[], object]]):
        self._jobs = jobs
        self._apart: list[float] = []
        self._together: list[float] = []

    def run(self, jobs: list[Callable[[], object]]) -> None:
        """Run the jobs at once, a thread each; an error in one is raised here."""
        with ThreadPoolExecutor(len(jobs)) as pool:
            for done in [pool.submit(job) for job in jobs]:
                done.result()

    def _time(self, jobs: list[Callable[[], object]]) -> float:
        start = time.perf_counter_ns()
        self.run(jobs)
        return time.perf_counter_ns() - start

    def _run_apart(self) -> None:
        self._apart.append(sum(self._time([job]) for job in self._jobs))

    def __call__(self) -> float:
        apart_first = len(self._apart) % 2 == 1
        if apart_first:
            self._run_apart()
        self._together.append(self._time(self._jobs))
        if not apart_first:
            self._run_apart()
        return self._apart[-1] / self._together[-1]

    def undisturbed(self) -> float:
        """The fastest of each: what else runs on the machine can only make either slower."""
        return min(self._apart) / min(self._together)


def burn_jobs(interps: list[Interp], n: int) -> list[Callable[[], object]]:
    return [partial(interp.exec, f"work.burn({n})") for interp in interps]


class ChildFailed(Exception):
    pass


def process_job(child: subprocess.Popen[str]) -> None:
    assert child.stdin is not None
    assert child.stdout is not None
    print(file=child.stdin, flush=True)
    if not child.stdout.readline():
        raise ChildFailed("the process ended early")


def start_child(*args: object) -> subprocess.Popen[str]:
    """Runs child.py with this folder in PYTHONPATH instead of as the script's own.

    So every interpreter starts with one sys.path; isles alone would pass on the script's folder,
    and the import system keeps a listing of each folder that it searches.
    """
    path = os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")]))
    return subprocess.Popen(
        [sys.executable, "-P", str(HERE / "child.py"), *map(str, args)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )


def cores(plan: Plan) -> Iterator[Row]:
    start = time.perf_counter_ns()
    work.burn(20_000)
    n = int(20_000 * (150e6 if plan.quick else 300e6) / (time.perf_counter_ns() - start))
    with ExitStack() as stack:
        samplers = {
            side.name: SpeedUp(burn_jobs([ready(side, stack), ready(side, stack)], n))
            for side in plan.sides
        }
        children = [start_child("burn", n) for _ in range(2)]
        for child in children:
            stack.callback(child.communicate)
        samplers["processes"] = SpeedUp([partial(process_job, child) for child in children])
        taken = alternate(samplers, plan.rounds(15))
    row = Row("two interpreters against one", "x", column(taken, "stdlib"), column(taken, "isles"))
    row.ratio = samplers["isles"].undisturbed() if "isles" in samplers else None
    control = column(taken, "processes")
    assert control
    row.notes.append(
        f"two processes against one, in the same rounds: {control.median:.2f}x"
        f" ({control.p10:.2f}-{control.p90:.2f}): what the machine gives"
    )
    row.notes.append(
        "the ratio is between the fastest times: "
        + ", ".join(f"{name} {sampler.undisturbed():.2f}x" for name, sampler in samplers.items())
    )
    if (os.process_cpu_count() or 1) < 2:
        row.notes.append("this process may use one core only")
    yield row


# --- memory, in processes of their own ----------------------------------------------------------


def in_child(*args: object) -> dict[str, Any]:
    child = start_child(*args)
    try:
        out, err = child.communicate(timeout=CHILD_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        child.communicate()
        raise ChildFailed(f"not done after {CHILD_SECONDS} s") from None
    if child.returncode < 0:
        raise ChildFailed(f"crashed ({signal.Signals(-child.returncode).name})")
    if child.returncode:
        raise ChildFailed("failed: " + (err.strip().splitlines() or ["no message"])[-1])
    answer: dict[str, Any] = json.loads(out.partition("\n")[0])  # packages print at exit, too
    return answer


def memory(plan: Plan) -> Iterator[Row]:
    rows = {
        "idle": Row("memory, idle interpreter", "KiB"),
        "used": Row("memory, after a call and an exec", "KiB"),
    }
    for side in plan.sides:
        try:
            runs = [in_child("memory", side.name, 20) for _ in range(plan.rounds(5))]
        except ChildFailed as error:
            rows["idle"].fail(f"{side.name} {error}")
            continue
        for key, row in rows.items():
            row.take(side.name, Sample.of([run[key] for run in runs]))
    for row in rows.values():
        row.ratio = over(row.isles, row.other)
        yield row


def cycle_count(plan: Plan) -> int:
    """All of them if asked for, or if they fit in what a default run may take."""
    if plan.all_cycles:
        return CYCLES
    if plan.quick:
        return CYCLES // 10
    probe = 80
    try:
        run = in_child("cycles", "stdlib", probe)
    except ChildFailed:
        return CYCLES // 4
    in_time = CYCLES_SECONDS * probe / (run["seconds"] * len(plan.sides))
    in_memory = CYCLES_KIB * probe / max(1, run["after"] - run["before"])
    return max(100, int(min(CYCLES, in_time, in_memory)) // 100 * 100)


def growth(plan: Plan) -> Iterator[Row]:
    count = cycle_count(plan)
    row = Row("memory growth", "KiB", detail=f" ({count:,} cycles, 4 threads)")
    for side in plan.sides:
        try:
            run = in_child("cycles", side.name, count)
        except ChildFailed as error:
            row.fail(f"{side.name} {error}")
            continue
        grown = run["after"] - run["before"]
        row.take(side.name, Sample.of([grown]))
        each = f"{grown / count:.2f} KiB and {run['seconds'] / count * 1e3:.1f} ms"
        row.notes.append(f"{side.name}: {each} a cycle")
    if row.isles and row.other:
        row.ratio = max(row.isles.median, NOISE_KIB) / max(row.other.median, NOISE_KIB)
        row.notes.append("the ratio takes less than 1 MiB, one arena of the allocator, as 1 MiB")
    if count < CYCLES:
        row.notes.append(f"{CYCLES:,} cycles with --cycles")
    yield row


# The bare switch comes after what it would slow down: a new thread state of the standard
# library's costs more in a process with more memory maps, which ended interpreters leave behind.
GROUPS: dict[str, Callable[[Plan], Iterator[Row]]] = {
    "call": calls,
    "exec": execs,
    "bare": bare,
    "create": lives,
    "stock": stocked,
    "interrupt": stops,
    "cores": cores,
    "memory": memory,
    "cycles": growth,
}
