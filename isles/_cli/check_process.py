"""One try of ``check``: a package in a fresh process, and what became of it."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from typing import Any, Final

from .check_packages import Package

type Broken = dict[str, str]  # steps that fail in the main interpreter, each with its error

AT_EXIT: Final = "at exit"


@dataclass
class Try:
    """How it went.

    fatal: the process's end in a word ("SIGSEGV", "hangs", "exit code 3"), None if it ended well.
    reason: of that, in a sentence. errors: of the steps that failed. seconds: of the imports, for
    each interpreter. memory: bytes, of all interpreters together; None if unknown. copies: the
    modules of which the first interpreter got a private copy.
    """

    fatal: str | None = None
    step: str = ""
    reason: str = ""
    errors: dict[str, str] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    memory: int | None = None
    copies: list[str] = field(default_factory=list)

    def word(self) -> str:
        """Why it doesn't work, in a word; "" if it works."""
        return self.fatal or next((one.partition(":")[0] for one in self.errors.values()), "")

    def why(self) -> str:
        """The same, told; "" if it works."""
        first = next((f"{one}: {error}" for one, error in self.errors.items()), "")
        return f"{self.reason}, after {first}" if self.reason and first else self.reason or first

    def as_dict(self) -> dict[str, Any]:
        return {
            "works": not self.word(),
            "reason": self.why() or None,
            "errors": self.errors,
            "import_seconds": self.seconds,
            "memory": self.memory,
            "private": self.copies,
        }


def attempt(
    package: Package,
    *,
    interpreters: int,
    policy: str,
    smoke: str,
    broken: Broken,
    timeout: float,
) -> Try:
    """Import and use the package in so many isolated interpreters at once; 0: in the main one.

    What is broken is left out.
    """
    with tempfile.TemporaryDirectory(prefix="isles-check-") as folder:
        report, errors = os.path.join(folder, "report"), os.path.join(folder, "stderr")
        job = {
            "report": report,
            "interpreters": interpreters,
            "policy": policy,
            "imports": [one for one in package.imports if f"import {one}" not in broken],
            "extensions": [one for one in package.extensions if f"import {one}" not in broken],
            "smoke": "" if "use" in broken else smoke,
        }
        open(report, "w").close()
        with open(errors, "wb") as stderr:
            code = run(job, stderr, timeout)
        with open(report, encoding="utf-8") as lines:
            events = [json.loads(line) for line in lines if line.endswith("\n")]
        with open(errors, encoding="utf-8", errors="replace") as text:
            return judge(events, code, text.read(), timeout)


def run(job: dict[str, Any], stderr: Any, timeout: float) -> int | None:
    """The child's exit code, negative for a signal; None if it had to be killed."""
    flags = ["-P"] if sys.flags.safe_path else []  # the same isles as here
    child = subprocess.Popen(
        [sys.executable, *flags, "-m", "isles._cli.check_inside", json.dumps(job)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=stderr,
        start_new_session=True,  # so that what it started goes with it
    )
    try:
        return child.wait(timeout)
    except subprocess.TimeoutExpired:
        return None
    finally:
        try:
            os.killpg(child.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        child.wait()


def judge(events: list[dict[str, Any]], code: int | None, stderr: str, timeout: float) -> Try:
    """What the report and the end of the process say together."""
    result = Try()
    open_steps: dict[tuple[int | None, str], None] = {}
    for one in events:
        match one:
            case {"event": "begin", "who": who, "what": what}:
                open_steps[who, what] = None
            case {"event": "done", "who": who, "what": what, "error": error}:
                open_steps.pop((who, what), None)
                if error is not None:
                    result.errors.setdefault(what, error)
            case {"event": "imported", "seconds": seconds}:
                result.seconds.append(seconds)
            case {"event": "memory", "bytes": count}:
                result.memory = count
            case {"event": "loaded", "who": 0, "copies": copies}:
                result.copies = copies
    ended = any(one["event"] == "end" for one in events)
    if code == 0 and ended:
        return result
    inner = [what for who, what in open_steps if who is not None]
    outer = [what for who, what in open_steps if who is None]
    result.step = AT_EXIT if ended else (inner or outer or ["start"])[-1]
    result.fatal = how_it_ended(code)
    told = last_words(stderr)
    result.reason = f"{result.fatal} ({result.step})" + (f": {told}" if told else "")
    if code is None:
        result.reason += f" after {timeout:g} s"
    return result


def how_it_ended(code: int | None) -> str:
    if code is None:
        return "hangs"
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


def last_words(stderr: str) -> str:
    """The line of standard error that tells most."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    fatal = [line for line in lines if line.startswith("Fatal Python error")]
    return (fatal or lines or [""])[-1][:400]
