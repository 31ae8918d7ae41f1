"""What fails for want of memory fails with an exception, leaves nothing behind, and breaks nothing.

Each operation runs with isles' first allocation failing, then with the second, and so on: see
tests/memory/.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import extensions_build
import pytest
from child_process import debug, run, under_asan

MEMORY = Path(__file__).parent.parent / "memory"
NAMES = re.findall(r"^@operation\ndef (\w+)", (MEMORY / "operations.py").read_text(), re.MULTILINE)
ALLOCATES_NOTHING = {"call", "submitted"}

pytestmark = pytest.mark.skipif(under_asan, reason="the sanitizer has a malloc of its own")


@pytest.fixture(scope="module")
def preloaded(tmp_path_factory):
    """The extension module that makes allocations fail, compiled."""
    command = extensions_build.compiler("CC")
    if command is None:
        pytest.skip("no C compiler")
    output = tmp_path_factory.mktemp("memory") / "failing_malloc.so"
    flags = ["-Wno-missing-field-initializers", "-Wno-unused-parameter"]
    source = str(MEMORY / "failing_malloc.c")
    done = subprocess.run(
        [*command, *extensions_build.common_flags(), *flags, source, "-o", str(output)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return output


@pytest.mark.parametrize("name", NAMES)
def test_each_allocation_fails_once(preloaded, name):
    path = os.pathsep.join([str(preloaded.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = os.environ | {"PYTHONPATH": path, "PYTHONMALLOC": "malloc"}
    # -W: CPython has deprecated how its cache of attributes is cleared.
    command = [sys.executable, "-W", "ignore", str(MEMORY / "failing.py"), name]
    ended = run(["env", f"LD_PRELOAD={preloaded}", *command], timeout=100, env=environment)
    assert ended.code == 0, ended
    allocations = int(re.search(r"^(\d+) allocations", ended.out, re.MULTILINE)[1])
    assert allocations > 0 or name in ALLOCATES_NOTHING or debug, ended  # deeper calls there
