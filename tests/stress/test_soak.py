"""The soaks, for a while; `python tests/stress/soak.py 600 SEED` is a long one."""

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

SECONDS = 20


@pytest.mark.slow
@pytest.mark.parametrize("script", ["soak.py", "aio_soak.py"])
def test_no_item_is_lost(script):
    seed = int(os.environ.get("ISLES_SEED") or random.randrange(1_000_000))
    script = Path(__file__).with_name(script)
    done = subprocess.run(
        [sys.executable, "-P", "-W", "error", str(script), str(SECONDS), str(seed)],
        capture_output=True,
        text=True,
        timeout=SECONDS + 100,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(script.parent)])},
    )
    assert done.returncode == 0, f"ISLES_SEED={seed}: code {done.returncode}\n{done.stderr}"
    assert done.stderr == ""
