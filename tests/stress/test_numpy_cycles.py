"""Some of the cycles of numpy_cycles.py; `python tests/stress/numpy_cycles.py 200` does more."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

CYCLES = 40
MOST = 30  # MB that may stay of a cycle; half of it is what was measured


@pytest.mark.slow
@pytest.mark.skipif("LD_PRELOAD" in os.environ, reason="a sanitizer keeps freed memory")
def test_numpy_comes_and_goes():
    pytest.importorskip("numpy")
    script = Path(__file__).with_name("numpy_cycles.py")
    done = subprocess.run(
        [sys.executable, "-P", "-W", "error", str(script), str(CYCLES)],
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, f"code {done.returncode}\n{done.stderr}"
    assert done.stderr == ""
    left = re.search(r"a cycle leaves ([\d.]+) MB", done.stdout)
    assert float(left[1]) < MOST, done.stdout
