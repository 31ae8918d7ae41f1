"""For autodoc: docstrings are plain text, and the types of what is in C stand in the stub."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MODULES = ("isles", "isles._interpreters")  # of the classes that are in the stub
STUB = Path(__file__).resolve().parent.parent / "isles" / "_interpreters.pyi"

PARAMETERS = re.compile(r"([a-z_]\w*(?:, [a-z_]\w*)*): (.*)")


def docstring(
    app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str], *_: Any
) -> None:
    """Turn a docstring into reStructuredText: autodoc-process-docstring."""
    lines[:] = list(_converted(lines))


def _converted(lines: list[str]) -> Iterator[str]:
    parameters = code = False
    for number, line in enumerate(lines):
        after_blank = number == 0 or not lines[number - 1]
        if not line:
            parameters = False
        elif after_blank:
            was_code, code = code, line.startswith("    ")
            if code and not was_code:
                yield from ("::", "")
        if code:
            yield line
        elif (after_blank or parameters) and (match := PARAMETERS.match(line)):
            parameters = True
            yield ", ".join(f"``{name}``" for name in match[1].split(", "))
            yield f"    {_plain(match[2])}"
        else:
            yield ("    " if parameters else "") + _plain(line)


def _plain(text: str) -> str:
    """The text, in which nothing but code in backticks has a meaning."""
    parts = text.split("`")
    parts[::2] = [re.sub(r"([\\*|])|_(?!\w)", r"\\\g<0>", part) for part in parts[::2]]
    return "``".join(parts)


def signature(
    app: Any, what: str, name: str, obj: Any, options: Any, sig: str | None, returns: str | None
) -> tuple[str | None, str | None] | None:
    """Give what C defines the signature of the stub: autodoc-process-signature."""
    if hasattr(obj, "__code__") or (isinstance(obj, type) and obj.__module__ not in MODULES):
        return None
    return _signatures.get(getattr(obj, "__qualname__", ""))


def _read(path: Path) -> Iterator[tuple[str, tuple[str | None, str | None]]]:
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef):
            for method in (each for each in node.body if isinstance(each, ast.FunctionDef)):
                if method.name == "__new__":
                    yield node.name, (_text(method)[0], None)
                elif not method.decorator_list:  # no property's
                    yield f"{node.name}.{method.name}", _text(method)
        elif isinstance(node, ast.FunctionDef):
            yield node.name, _text(node)


def _text(node: ast.FunctionDef) -> tuple[str, str]:
    arguments = node.args
    before = arguments.posonlyargs or arguments.args
    if before and before[0].arg in ("self", "cls"):
        del before[0]
    return f"({ast.unparse(arguments)})", ast.unparse(node.returns or ast.Constant(None))


_signatures = dict(_read(STUB))
