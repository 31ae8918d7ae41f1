"""What somebody meets where isles is not built, or can't be."""

import os
import sys
from pathlib import Path

import child_process
import pytest

SOURCE = Path(__file__).resolve().parents[2]
MESON = Path(sys.executable).with_name("meson")


def test_the_source_tree_says_that_it_is_not_built():
    command = [sys.executable, "-c", "import isles"]
    ended = child_process.run(command, cwd=str(SOURCE))
    last = ended.err.splitlines()[-1]
    assert last.startswith(f"ModuleNotFoundError: {SOURCE}/isles has no compiled part"), ended
    assert "pip install ." in last


@pytest.mark.skipif(not MESON.exists(), reason="what builds isles is not installed here")
def test_a_free_threaded_python_is_refused(tmp_path):
    """By the build; here for a Python that only says of itself that it is one."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sysconfig\nsysconfig.get_config_vars()['Py_GIL_DISABLED'] = 1\n"
    )
    env = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    env["PYTHONPATH"] = str(tmp_path)
    command = [str(MESON), "setup", str(tmp_path / "build"), str(SOURCE)]
    ended = child_process.run(command, env=env, timeout=120)
    assert ended.code != 0, ended
    assert "isles does not support free-threaded builds of CPython yet" in ended.out, ended
