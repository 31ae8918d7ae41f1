"""What is done again and again leaves no reference behind: for debug builds, which count them."""

import sys
from pathlib import Path

import pytest
from child_process import debug, run


@pytest.mark.skipif(not debug, reason="only debug builds count")
def test_the_total_of_references_is_stable():
    script = Path(__file__).parent.parent / "memory" / "references.py"
    ended = run([sys.executable, "-W", "ignore", str(script)], timeout=200)
    assert ended.code == 0, ended
