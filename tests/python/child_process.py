"""Python scripts in processes of their own: for what may crash, hang or end the process."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass

import pytest

with open("/proc/self/maps") as maps:
    under_asan = "libasan" in maps.read()

# isles has a thread of its own beside the one that forks.  Seen with gdb: the child waits in its
# malloc for a lock of the sanitizer's own.
forks = pytest.mark.skipif(
    under_asan, reason="AddressSanitizer's allocator does not survive a fork beside other threads"
)

# CPython with its own assertions: slower, and stricter with what is half done.
debug = hasattr(sys, "gettotalrefcount")

# Seconds after which what is to happen has failed.
LATE = 20.0

LEFT_AT_EXIT = "managed_static_type_state_clear: Assertion"


@dataclass
class Ended:
    """How a child process ended: code is negative for a signal, as in subprocess."""

    code: int
    out: str
    err: str
    seconds: float

    def __repr__(self) -> str:
        # Long outputs are cut in the middle: the start and the end tell what happened.
        err = self.err if len(self.err) < 6000 else self.err[:3000] + "\n...\n" + self.err[-3000:]
        return f"Ended(code={self.code}, seconds={self.seconds:.2f})\nout:\n{self.out}\nerr:\n{err}"


def run_script(script: str, *args: str, timeout: float = 30, interrupt: bool = False) -> Ended:
    """Run a script with all warnings shown; see run()."""
    command = [sys.executable, "-P", "-W", "always", "-c", script, *args]
    return run(command, timeout=timeout, interrupt=interrupt)


def run(
    command: list[str],
    *,
    timeout: float = 30,
    interrupt: bool = False,
    cwd: str | None = None,
    env: dict[str, str] | None = None,
) -> Ended:
    """Run a command.  interrupt: send SIGINT once it has printed a line.

    A child that is still there after `timeout` seconds is killed, and its code is -9.
    """
    start = time.monotonic()
    child = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
        start_new_session=True,  # so that what it forked can be killed with it
        cwd=cwd,
        env=env,
    )
    first = ""
    if interrupt:
        first = child.stdout.readline()
        # A signal between print() and the wait's first system call would end nothing, as in plain
        # Python: its handler runs only once the wait is over.
        time.sleep(0.2)
        child.send_signal(signal.SIGINT)
    try:
        out, err = child.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        out, err = child.communicate()
    if LEFT_AT_EXIT in err:
        pytest.skip("debug builds of CPython assert that no interpreter is left at exit")
    return Ended(child.returncode, first + out, err, time.monotonic() - start)


def check_clean(script: str, *args: str, timeout: float = 30) -> str:
    """Run a script that has to end well and silently; return what it printed."""
    ended = run_script(script, *args, timeout=timeout)
    assert ended.code == 0, ended
    assert ended.err == "", ended
    return ended.out
