"""The chaos of chaos.py, for a while; `python tests/stress/chaos.py 3600 SEED` is the long one."""

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

SECONDS = 20


@pytest.mark.slow
def test_everything_at_once():
    seed = int(os.environ.get("ISLES_SEED") or random.randrange(1_000_000))
    script = Path(__file__).with_name("chaos.py")
    done = subprocess.run(
        [sys.executable, "-P", "-X", "faulthandler", str(script), str(SECONDS), str(seed)],
        capture_output=True,
        text=True,
        timeout=SECONDS + 160,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(script.parent)])},
    )
    assert done.returncode == 0, f"ISLES_SEED={seed}: code {done.returncode}\n{done.stderr}"
    print(done.stdout, done.stderr)
