"""The scripts of this folder, for a while; `python tests/stress/soak.py 600 SEED` is longer."""

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

SECONDS = 20


CHAOS = "chaos.py", False  # an interruption may strike in a finalizer, which says so


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "silent", "options"),
    [
        ("soak.py", True, []),
        ("aio_soak.py", True, []),
        (*CHAOS, []),
        (*CHAOS, ["1e-6"]),  # a GIL is handed over as soon as somebody wants it
        (*CHAOS, ["0.5"]),
    ],
)
def test_for_a_while(script, silent, options):
    seed = int(os.environ.get("ISLES_SEED") or random.SystemRandom().randrange(1_000_000))
    script = Path(__file__).with_name(script)
    python = [sys.executable, "-P", "-X", "faulthandler", *(["-W", "error"] if silent else [])]
    done = subprocess.run(
        [*python, str(script), str(SECONDS), str(seed), *options],
        capture_output=True,
        text=True,
        timeout=SECONDS + 160,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(script.parent)])},
    )
    assert done.returncode == 0, f"ISLES_SEED={seed}: code {done.returncode}\n{done.stderr}"
    assert done.stderr == "" or not silent
