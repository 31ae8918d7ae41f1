"""Which extension modules an interpreter may load, and how: the policy, and what came of it."""

import os
import sys
from collections.abc import Mapping
from typing import Any, NamedTuple

from isles import _KNOWN_TO_FAIL, _interpreters

type Policy = str | Mapping[str, str]

MODES = ("private", "shared", "deny")


class Extension(NamedTuple):
    """An extension module that an interpreter has loaded.

    name: of the module.
    how: "private" for a copy of its own, "shared" for the process's.
    origin: the path that it was found at.
    file: the path that was loaded, the copy's or the same.
    """

    name: str
    how: str
    origin: str
    file: str


def rules(policy: Policy) -> dict[str, str] | None:
    """Return the policy as the loader has it, None for "strict".

    Raises ValueError or TypeError for what is no policy.
    """
    if isinstance(policy, str):
        if policy == "strict":
            return None
        if policy == "private":
            return dict(_KNOWN_TO_FAIL)
        raise ValueError(f"extensions must be 'private', 'strict' or a mapping, not {policy!r}")
    if not isinstance(policy, Mapping):
        kind = type(policy).__name__
        raise TypeError(f"extensions must be 'private', 'strict' or a mapping, not {kind}")
    wanted = {}
    for name, mode in policy.items():
        if not isinstance(name, str) or not isinstance(mode, str):
            raise TypeError(f"extensions maps names (str) to modes (str), not {name!r}: {mode!r}")
        if mode.partition(":")[0] not in MODES:
            raise ValueError(f"{name!r} must be 'private', 'shared' or 'deny', not {mode!r}")
        wanted[str.__str__(name)] = str.__str__(mode)  # no members of enums: they go elsewhere
    return _KNOWN_TO_FAIL | wanted


def from_environment(text: str) -> Policy:
    """Return the policy that ISLES_EXTENSIONS says: a word, or name=mode with commas between."""
    text = text.strip()
    if not text:
        return "private"
    if "=" not in text:
        return text
    pairs = [part.partition("=") for part in text.split(",")]
    return {name.strip(): mode.strip() for name, _, mode in pairs}


_default: dict[str, str] | str | None = "unset"


def default() -> dict[str, str] | None:
    """Return the rules for interpreters that are made without any."""
    global _default
    if _default == "unset":
        try:
            _default = rules(from_environment(os.environ.get("ISLES_EXTENSIONS", "")))
        except ValueError as error:
            raise ValueError(f"ISLES_EXTENSIONS: {error}") from None
    return _default  # type: ignore[return-value]


def set_default_extensions(policy: Policy) -> None:
    """Set the policy of interpreters that this one makes without one: see create().

    Before it is called, the environment variable ISLES_EXTENSIONS says it: "private", "strict", or
    rules such as "numpy=shared,foo.bar=deny".  Raises ValueError, TypeError.  Any thread.
    """
    global _default
    _default = rules(policy)
    if "isles._stock" in sys.modules:
        sys.modules["isles._stock"].follow()


def loaded() -> list[Extension]:
    """Return what the calling interpreter has loaded, by name."""
    from importlib.machinery import ExtensionFileLoader

    copies = _interpreters._extensions()
    found = []
    for name, module in sys.modules.copy().items():
        spec: Any = getattr(module, "__spec__", None)
        if isinstance(getattr(spec, "loader", None), ExtensionFileLoader) and spec.name == name:
            how = "private" if name in copies else "shared"
            found.append(Extension(name, how, spec.origin, copies.get(name, spec.origin)))
    return sorted(found)
