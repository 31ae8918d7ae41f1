"""What ``check`` is asked about: distributions and import names, and what they consist of."""

import re
from collections.abc import Iterable, Iterator
from importlib import metadata
from importlib.machinery import EXTENSION_SUFFIXES, SOURCE_SUFFIXES
from importlib.util import find_spec
from pathlib import Path, PurePath
from typing import NamedTuple

from .errors import UsageError


class Package(NamedTuple):
    """What there is to check under a name.

    imports: what a user imports: packages and modules of the top level. extensions: the extension
    modules, wherever they are.
    """

    name: str
    version: str
    imports: list[str]
    extensions: list[str]


class File(NamedTuple):
    """A file of a package: its path below the folder on sys.path, and on disk."""

    below: PurePath
    path: Path


def find(name: str) -> Package | None:
    """Return the distribution of that name or else the importable module or package, or None."""
    try:
        return of_distribution(metadata.distribution(name))
    except (metadata.PackageNotFoundError, ValueError):
        return of_import(name)


def installed() -> list[str]:
    """The names of all distributions that have extension modules, isles apart."""
    found = (of_distribution(one) for one in metadata.distributions())
    names = {one.name for one in found if one.extensions and one.name != "isles"}
    return sorted(names, key=str.lower)


def required(path: str, seen: frozenset[Path] = frozenset()) -> Iterator[str]:
    """The names in a requirements file, and in those that it includes."""
    file = Path(path)
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"can't read {path!r}: {error}") from None
    for line in lines:
        included = re.match(r"(?:-r|--requirement)[\s=]*(\S.*?)\s*(?:\s#|$)", line)
        if included:
            further = file.parent / included[1]
            if further.resolve() not in seen | {file.resolve()}:
                yield from required(str(further), seen | {file.resolve()})
            continue
        named = re.match(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?![^\s@]*://)", line)
        if named:
            yield named[1]


# What it consists of


def of_distribution(distribution: metadata.Distribution) -> Package:
    paths = distribution.files or []
    files = [File(PurePath(path), Path(str(path.locate()))) for path in paths]
    files = [file for file in files if not {"..", "__pycache__"} & set(file.below.parts)]
    return Package(distribution.name, distribution.version, imports_of(files), extensions_of(files))


def of_import(name: str) -> Package | None:
    try:
        spec = find_spec(name)
    except (ImportError, ValueError, AttributeError):
        return None
    if spec is None:
        return None
    parent = PurePath(*name.split(".")[:-1])
    if spec.submodule_search_locations is None:
        origin = Path(spec.origin or "")
        files = [File(parent / origin.name, origin)]
    else:
        files = [
            File(parent / path.relative_to(Path(folder).parent), path)
            for folder in spec.submodule_search_locations
            for path in Path(folder).rglob("*")
        ]
    return Package(name, version_of(name), [name], extensions_of(files))


def version_of(name: str) -> str:
    """Of the distribution that has the module; "" if none does."""
    owners = metadata.packages_distributions().get(name.partition(".")[0], [])
    return metadata.version(owners[0]) if owners else ""


def imports_of(files: Iterable[File]) -> list[str]:
    """The packages that are in no other one, and the modules beside them.

    A namespace package is none: it has no file of its own, and others may have parts of it.
    """
    files = list(files)
    packages = {file.below.parent for file in files if file.below.name == "__init__.py"}
    outer = {one for one in packages if not packages & set(one.parents)}
    modules = {
        PurePath(stem(file.below))
        for file in files
        if len(file.below.parts) == 1
        and (is_extension(file) or file.below.suffix in SOURCE_SUFFIXES)
    }
    return sorted(".".join(one.parts) for one in outer | modules if one.parts)


def extensions_of(files: Iterable[File]) -> list[str]:
    return sorted(
        ".".join((*file.below.parent.parts, stem(file.below)))
        for file in files
        if is_extension(file)
    )


def stem(path: PurePath) -> str:
    """A module's own name."""
    for suffix in (*EXTENSION_SUFFIXES, *SOURCE_SUFFIXES):
        if path.name.endswith(suffix):
            return path.name.removesuffix(suffix)
    return path.name


def is_extension(file: File) -> bool:
    """Whether it can be imported: bundled libraries end in .so as well."""
    if not file.below.name.endswith(tuple(EXTENSION_SUFFIXES)):
        return False
    name = stem(file.below)
    plain = name.isascii()
    suffix = "_" + name if plain else "U_" + name.encode("punycode").decode().replace("-", "_")
    try:
        data = file.path.read_bytes()
    except OSError:
        return False
    return any(f"{start}{suffix}\0".encode() in data for start in ("PyInit", "PyModExport"))
