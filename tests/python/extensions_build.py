"""Compiles the modules of tests/extensions/ into a folder that can go on sys.path."""

import functools
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

SOURCES = Path(__file__).parent.parent / "extensions"
SUFFIX = sysconfig.get_config_var("EXT_SUFFIX")


@dataclass(frozen=True)
class Module:
    name: str
    source: str
    flags: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    init: str = ""
    since: tuple[int, int] = (3, 13)

    @property
    def last_name(self):
        return self.name.rpartition(".")[2]

    @property
    def init_name(self):
        if self.last_name.isascii():
            return self.init or f"PyInit_{self.last_name}"
        return "PyInitU_" + self.last_name.encode("punycode").decode().replace("-", "_")


def declares(support):
    return (f"-DTRAP_SUPPORT=Py_MOD_{support}",)


# What declares that it supports an own GIL, and doesn't.
KEEPING = [
    Module(
        f"traps.keeps{name.lower()}",
        "declares.c",
        (*declares("PER_INTERPRETER_GIL_SUPPORTED"), f'-DTRAP_KEEPS="{name}"'),
    )
    for name in ("_ARRAY_API", "_UFUNC_API", "__pyx_capi__")
]

# What an isolated interpreter has to get a copy of.
COPIED = [
    *KEEPING,
    Module("traps.counter", "counter.c"),
    Module("zähler", "counter.c"),
    Module("traps.main_only", "declares.c", declares("MULTIPLE_INTERPRETERS_NOT_SUPPORTED")),
    Module("traps.shared_gil", "declares.c", declares("MULTIPLE_INTERPRETERS_SUPPORTED")),
    Module("traps.mod_export", "mod_export.c", init="PyModExport_mod_export", since=(3, 15)),
    Module("traps.sub.single", "single.c"),
    Module("traps.find", "find.c"),
    Module("traps.state_memory", "state_memory.c"),
    Module("traps.binds", "binds.c"),
    Module("traps.static_type", "static_type.c"),
    Module("traps.unique", "unique.cpp"),
    Module("traps.needs_python", "needs_python.c", needs=("trap_python",)),
    Module("traps.needs_python_too", "needs_python.c", needs=("trap_python",)),
    Module("traps.needs_deep", "needs_python.c", ("-DTRAP_DEEP",), needs=("trap_middle",)),
    Module("traps.needs_plain", "needs_plain.c", needs=("trap_plain",)),
    Module("traps.needs_hdf5", "needs_plain.c", needs=("hdf5_trap",)),
    Module("traps.thread_local", "thread_local.c", ("-DTRAP_ROOM=8",)),
    Module("traps.initial_exec", "thread_local.c", ("-DTRAP_ROOM=8", "-ftls-model=initial-exec")),
    Module("traps.own_thread", "own_thread.c", ("-pthread",)),
    Module("traps.pair", "pair.c"),
    Module("traps.creates", "creates.c"),
    Module("traps.creates_export", "creates.c", ("-DTRAP_SLOTS",), since=(3, 15)),
    Module("traps.pending", "pending.c", ("-pthread",)),
    Module("traps.late", "late.c", ("-pthread",)),
]

# What declares that it supports an own GIL.
SHARED = [
    Module("traps.own_gil", "declares.c", declares("PER_INTERPRETER_GIL_SUPPORTED")),
    Module(
        "traps.sub.own_gil_export",
        "mod_export.c",
        declares("PER_INTERPRETER_GIL_SUPPORTED"),
        init="PyModExport_own_gil_export",
        since=(3, 15),
    ),
]

# What can't be imported at all, and what fills the static TLS.
OTHERS = [
    *(
        Module(f"traps.{way.lower()}", "fails.c", (f"-DTRAP_WAY={way}",))
        for way in ("RAISES", "RETURNS_NULL", "UNREPORTED", "EXEC_RAISES")
    ),
    Module("traps.no_init", "counter.c", init="PyInit_elsewhere"),
    Module("traps.undefined", "needs_plain.c"),
    Module("traps.needs_missing", "needs_plain.c", needs=("trap_missing",)),
    Module("traps.large_tls", "thread_local.c", ("-DTRAP_ROOM=248", "-ftls-model=initial-exec")),
]

# Each library with those that it needs, which come first.
LIBRARIES = {
    "trap_python": ("libtrap_python.c", ()),
    "trap_middle": ("libtrap_middle.c", ("trap_python",)),
    "trap_plain": ("libtrap_plain.c", ()),
    "hdf5_trap": ("libtrap_plain.c", ()),  # known by its name not to be safe for threads
    "trap_missing": ("libtrap_plain.c", ()),
}


def names(modules):
    """Those that this version of Python can have."""
    return [module.name for module in modules if sys.version_info >= module.since]


@dataclass(frozen=True)
class Traps:
    """The folder, and the modules that are not there, each with the reason."""

    folder: Path
    missing: dict[str, str]

    def file(self, name):
        """Where a module lies."""
        return str(self.folder / (name.replace(".", "/") + SUFFIX))


def compiler(variable):
    """The command that Python was built with, or None."""
    command = shlex.split(sysconfig.get_config_var(variable) or "")
    if command and shutil.which(command[0]):
        return command
    plain = shutil.which({"CC": "cc", "CXX": "c++"}[variable])
    return [plain] if plain else None


@functools.cache
def common_flags():
    include = {sysconfig.get_path(name) for name in ("include", "platinclude")}
    flags = ["-shared", "-fPIC", "-O1", "-g", "-Wall", *(f"-I{path}" for path in sorted(include))]
    # Debian's debug builds have symlinks to the plain headers: followed, those find the plain
    # pyconfig.h.
    as_named = "-fno-canonical-system-headers"
    probe = subprocess.run(
        [*compiler("CC"), as_named, "-Werror", "-E", "-x", "c", "/dev/null"], capture_output=True
    )
    return [*flags, as_named] if probe.returncode == 0 else flags


def compile_one(output, source, flags, needs, libs, rpath):
    command = [
        *compiler("CXX" if source.endswith(".cpp") else "CC"),
        *(("-std=c++17",) if source.endswith(".cpp") else ("-std=gnu11",)),
        *common_flags(),
        *flags,
        str(SOURCES / source),
        *("-o", str(output), f"-L{libs}", *(f"-l{name}" for name in needs)),
        *(f"-Wl,-rpath,{rpath}", "-Wl,--enable-new-dtags", f"-Wl,-rpath-link,{libs}"),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"{shlex.join(command)}\n{done.stderr}"
    if done.stderr:
        print(done.stderr, file=sys.stderr)


def build(folder):
    """Compile all; None without a C compiler."""
    if compiler("CC") is None:
        return None
    package = folder / "traps"
    libs = package / "libs"
    for made in (libs, package / "sub"):
        made.mkdir(parents=True)
    for made in (package, package / "sub"):
        (made / "__init__.py").touch()
    (package / "data.txt").write_text("bait\n")

    for name, (source, needs) in LIBRARIES.items():
        file = f"lib{name}.so"
        flags = [f"-Wl,-soname,{file}"]
        compile_one(libs / file, source, flags, needs, libs, "$ORIGIN")

    traps = Traps(folder, {})
    jobs = []
    for module in (*COPIED, *SHARED, *OTHERS):
        if module.source.endswith(".cpp") and compiler("CXX") is None:
            traps.missing[module.name] = "no C++ compiler"
        elif sys.version_info >= module.since:
            jobs.append(module)

    def compile_module(module):
        flags = [f'-DTRAP_NAME="{module.last_name}"', f"-DTRAP_INIT={module.init_name}"]
        flags.extend(module.flags)
        output = traps.file(module.name)
        compile_one(output, module.source, flags, module.needs, libs, "$ORIGIN/libs")

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(compile_module, jobs))
    (libs / "libtrap_missing.so").unlink()
    Path(traps.file("traps.garbage")).write_bytes(b"not an object file " * 99)
    return traps
