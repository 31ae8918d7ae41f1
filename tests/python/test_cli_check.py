"""``python -m isles check``, as a user runs it."""

import json
import os
import subprocess
import sys
from argparse import Namespace
from pathlib import Path, PurePath

import extensions_build
import pytest

from isles._cli import check_inside, check_packages, check_process, check_report, check_smoke
from isles._cli.check import wanted
from isles._cli.errors import UsageError

# Each runs processes that run processes; a sanitizer in them would take the crashes for its own.
pytestmark = pytest.mark.slow

# Modules that do what they are named after, in isolated interpreters only.
INSIDE = "import os, sys, time, isles\nif isles.get_current() != isles.get_main():\n    "
MODULES = {
    "fine": "value = 1\n",
    # In this thread; os.kill() lets it go on until another one has died of it.
    "crashes": INSIDE + "import signal; signal.raise_signal(11)\n",
    "hangs": INSIDE + "time.sleep(1000)\n",
    "raises": INSIDE + "raise ValueError('not\\nhere')\n",
    "leaves": INSIDE + "print('bye', file=sys.stderr, flush=True); os._exit(7)\n",
    "crashes_at_exit": "import isles, os, weakref\nclass A: pass\nkept = A()\n"
    "if isles.get_current() != isles.get_main():\n"
    "    weakref.finalize(kept, os.kill, os.getpid(), 6)\n",
    "fails_and_crashes": INSIDE + "import atexit; atexit.register(os.abort); raise OSError('no')\n",
    "chatters": "import sys\nprint('x' * 100000)\nprint('y' * 100000, file=sys.stderr)\n",
    "broken": "raise LookupError('nowhere')\n",
    "broken_hard": "import os\nos.kill(os.getpid(), 11)\n",
}


@pytest.fixture
def place(tmp_path):
    for name, source in MODULES.items():
        (tmp_path / f"{name}.py").write_text(source)
    return tmp_path


def run(*arguments, path=(), env=None):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path)), **(env or {})}
    return subprocess.run(
        [sys.executable, "-P", "-m", "isles", "check", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


def check(name, *arguments, path=()):
    """The row of one package, and the exit code."""
    done = run(name, "--json", *arguments, path=path)
    assert done.stderr == ""
    summary = json.loads(done.stdout)
    (row,) = summary["packages"]
    assert summary["failed"] == row["failed"]
    assert row["name"] == name
    return row, done.returncode


# What works


def test_numpy():
    pytest.importorskip("numpy")
    row, code = check("numpy", "--stdlib")
    assert code == 0 and not row["failed"]
    assert row["version"].count(".") >= 1 and row["imports"] == ["numpy"]
    assert "numpy._core._multiarray_umath" in row["extensions"]
    assert row["main"]["works"] and row["one"]["works"] and row["four"]["works"]
    assert row["main"]["private"] == []
    assert "numpy._core._multiarray_umath" in row["one"]["private"]
    assert len(row["four"]["import_seconds"]) == 4
    assert row["one"]["memory"] > 1_000_000
    assert not row["stdlib"]["works"]
    assert "does not support loading in subinterpreters" in row["stdlib"]["reason"]


def test_module_without_extensions(place):
    row, code = check("fine", path=[place])
    assert code == 0 and row["extensions"] == [] and row["four"]["works"]


def test_output_does_not_mix(place):
    row, code = check("chatters", path=[place])
    assert code == 0 and row["four"]["works"]


@pytest.fixture
def package(traps, tmp_path):
    """A package that has some of the traps only, and a library, under a name of a distribution."""

    def make(*names):
        folder = tmp_path / "traps"
        folder.mkdir()
        (folder / "__init__.py").touch()
        for name in names:
            (folder / Path(traps.file(name)).name).symlink_to(traps.file(name))
        (folder / "libs").symlink_to(traps.folder / "traps" / "libs")
        info = tmp_path / "some_traps-1.5.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: some-traps\nVersion: 1.5\n")
        files = [one.relative_to(tmp_path) for one in folder.rglob("*")]
        files += [one.relative_to(tmp_path) for one in (folder / "libs").iterdir()]
        (info / "RECORD").write_text("".join(f"{one},,\n" for one in files))
        return tmp_path

    return make


def test_distribution(package):
    path = package("traps.counter", "traps.own_gil")
    row, code = check("some-traps", path=[path])
    assert code == 0 and row["version"] == "1.5" and row["imports"] == ["traps"]
    assert row["extensions"] == ["traps.counter", "traps.own_gil"]
    assert row["one"]["private"] == row["four"]["private"] == ["traps.counter"]


def test_import_name(package):
    path = package("traps.counter")
    row, code = check("traps.counter", path=[path])
    assert code == 0 and row["extensions"] == ["traps.counter"] and row["version"] == "1.5"
    assert check("traps", path=[path])[0]["extensions"] == ["traps.counter"]


def test_what_fails_in_main_too_does_not_count(package):
    path = package("traps.counter", "traps.raises", "traps.no_init")
    row, code = check("some-traps", path=[path])
    assert code == 0 and row["four"]["works"]
    assert list(row["broken_in_main"]) == ["import traps.raises"]
    assert row["extensions"] == ["traps.counter", "traps.raises"]  # the other is none


def test_unusable_cache(package):
    """An error of isles' own is the row's too."""
    path = package("traps.counter")
    done = run("some-traps", "--json", path=[path], env={"ISLES_CACHE_DIR": "/proc/none"})
    (row,) = json.loads(done.stdout)["packages"]
    assert done.returncode == 1
    assert "ImportError: isles can't make a private copy" in row["one"]["reason"]


# What doesn't


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("crashes", "SIGSEGV (import crashes)"),
        ("raises", "import raises: ValueError: not"),
        ("leaves", "exit code 7 (import leaves): bye"),
        ("crashes_at_exit", "SIGABRT (close 0)"),
        ("fails_and_crashes", "SIGABRT (close 0), after import fails_and_crashes: OSError: no"),
    ],
)
def test_failure(place, name, reason):
    row, code = check(name, path=[place])
    assert code == 1 and row["failed"]
    assert row["main"]["works"] and not row["one"]["works"] and not row["four"]["works"]
    assert row["one"]["reason"] == reason


def test_hang(place):
    row, code = check("hangs", "--timeout", "2", path=[place])
    assert code == 1
    assert row["four"]["reason"] == "hangs (import hangs) after 2 s"


def test_refused_by_policy(place, package):
    path = package("traps.counter")
    row, code = check("some-traps", "--stdlib", path=[path])
    assert code == 0 and "does not support loading" in row["stdlib"]["reason"]


def test_all_broken_in_main(place):
    row, code = check("broken", path=[place])
    assert code == 0 and not row["failed"]
    assert row["broken_in_main"] == {"import broken": "LookupError: nowhere"}
    assert row["main"] is row["one"] is row["four"] is None


def test_crash_in_main(place):
    row, code = check("broken_hard", path=[place])
    assert code == 0
    assert row["broken_in_main"] == {"import broken_hard": "SIGSEGV (import broken_hard)"}


def test_not_installed():
    row, code = check("surely-not-installed")
    assert code == 1 and row["version"] is None


# The command


@pytest.mark.parametrize("rich", [True, False])
def test_table(place, rich):
    names = ["fine", "crashes", "broken", "surely-not-installed"]
    arguments = [*names, "--stdlib", "-j", "2"]
    hide = "" if rich else "sys.modules['rich'] = None\n"
    script = f"import sys\n{hide}from isles._cli import main\nsys.exit(main.main())"
    done = subprocess.run(
        [sys.executable, "-P", "-c", script, "check", *arguments],
        env={**os.environ, "PYTHONPATH": str(place)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1 and done.stderr == ""
    assert [
        line.split()[0]
        for line in done.stdout.splitlines()
        if line.split()[:1] in [[name] for name in names]
    ] == names
    assert "SIGSEGV" in done.stdout and "fails in main" in done.stdout
    assert "crashes: four at once: SIGSEGV (import crashes)" in done.stdout
    assert "broken: in main too: import broken: LookupError: nowhere" in done.stdout
    assert "2 of 4 work" in done.stdout
    assert rich or done.stdout.isascii()


def test_colours(place):
    done = run("fine", "raises", path=[place], env={"FORCE_COLOR": "1", "TERM": "xterm-256color"})
    assert "\x1b[32mworks" in done.stdout and "\x1b[31mValueError" in done.stdout


def test_wrong_usage():
    for arguments in ([], ["-r", "surely/not/there"], ["x", "-j", "0"], ["x", "--timeout", "x"]):
        done = run(*arguments)
        assert done.returncode == 2 and done.stderr.count("\n") == 1, arguments


def test_nothing_to_check(tmp_path, monkeypatch):
    (tmp_path / "none.txt").write_text("# nothing\n")
    done = run("-r", str(tmp_path / "none.txt"))
    assert done.returncode == 2 and done.stderr.endswith("none.txt names no package\n")
    monkeypatch.setattr(check_packages, "installed", list)
    with pytest.raises(UsageError, match="no installed package has extension modules"):
        wanted(Namespace(packages=[], requirement=[], installed=True))


def test_requirements(tmp_path):
    (tmp_path / "one.txt").write_text(
        "# comment\nnumpy>=2  # why\n  PyYAML[x]==6; python_version > '3'\n-r two.txt\n--pre\n"
        "./local/folder.whl\nhttps://host/x.whl\nnamed @ https://host/y.whl\nnumpy\n\n-e ./here\n"
    )
    (tmp_path / "two.txt").write_text("-r one.txt\nlxml\\\n --hash=sha256:00\n")
    found = list(check_packages.required(str(tmp_path / "one.txt")))
    assert found == ["numpy", "PyYAML", "lxml", "named", "numpy"]
    with pytest.raises(UsageError):
        list(check_packages.required(str(tmp_path / "none.txt")))


def test_installed():
    names = check_packages.installed()
    assert "isles" not in names and "pytest" not in names
    pytest.importorskip("numpy")
    assert "numpy" in names


# Its parts


def test_imports():
    paths = ["a/__init__.py", "a/b/__init__.py", "c.py", "space/d/__init__.py", "space/e/x.py"]
    files = [check_packages.File(PurePath(one), Path(one)) for one in paths]
    assert check_packages.imports_of(files) == ["a", "c", "space.d"]


def test_every_trap_is_an_extension(traps):
    modules = [*extensions_build.COPIED, *extensions_build.SHARED]
    for name in set(extensions_build.names(modules)) - traps.missing.keys():
        file = Path(traps.file(name))
        assert check_packages.is_extension(check_packages.File(PurePath(file.name), file)), name
    library = next((traps.folder / "traps" / "libs").iterdir())
    assert not check_packages.is_extension(check_packages.File(PurePath(library.name), library))


def test_description_of_errors():
    cause = KeyError("x")
    try:
        try:
            raise cause
        except KeyError as error:
            raise ImportError("long\nand more") from error
    except ImportError as error:
        assert check_inside.describe(error) == "KeyError: 'x'"
    assert check_inside.describe(ValueError("\n\n first\nsecond")) == "ValueError: first"
    assert check_inside.describe(SystemExit()) == "SystemExit"
    assert len(check_inside.describe(ValueError("x" * 10000))) < 500


def test_last_words():
    text = "a\nFatal Python error: bad\n\nthread 1\n  file\n"
    assert check_process.last_words(text) == "Fatal Python error: bad"
    assert check_process.last_words("one\ntwo\n\n") == "two"
    assert check_process.last_words("") == ""


def test_smokes_compile():
    for name in check_smoke.SMOKES:
        compile(check_smoke.smoke_of(name), name, "exec")
    assert check_smoke.smoke_of("Py_YAML") == "" != check_smoke.smoke_of("PyYAML")


def test_marked_words_are_escaped():
    assert check_report.painted("x", "red", False) == "x"
