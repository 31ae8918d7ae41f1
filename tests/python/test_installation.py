"""What somebody meets who imports isles where it is not built."""

import sys
from pathlib import Path

import child_process

SOURCE = Path(__file__).resolve().parents[2]


def test_the_source_tree_says_that_it_is_not_built():
    command = [sys.executable, "-c", "import isles"]
    ended = child_process.run(command, cwd=str(SOURCE))
    last = ended.err.splitlines()[-1]
    assert last.startswith(f"ModuleNotFoundError: {SOURCE}/isles has no compiled part"), ended
    assert "pip install ." in last
