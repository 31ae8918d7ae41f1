"""What isles does every day reads and writes no memory that it should not, as valgrind sees it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.slow,  # and so not under AddressSanitizer, which can't run there
    pytest.mark.skipif(shutil.which("valgrind") is None, reason="valgrind is not installed"),
]


def test_each_operation_twice():
    script = Path(__file__).parent.parent / "memory" / "once.py"
    valgrind = ["valgrind", "-q", "--error-exitcode=9", "--num-callers=30", "--fair-sched=yes"]
    done = subprocess.run(
        [*valgrind, sys.executable, "-W", "ignore", str(script)],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"PYTHONMALLOC": "malloc"},
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "operations" in done.stdout
