"""The demo's work: the functions, lines and cyclomatic complexity of Python files.

The complexity of a function is McCabe's: one, and one more for each place where it can go two
ways: ``if`` and ``elif``, ``for``, ``while``, ``except``, each case of a ``match`` but a bare
``case _``, each ``a if b else c``, each further operand of ``and`` and ``or``, and each ``if`` of
a comprehension. ``else``, ``finally``, ``with`` and ``assert`` count nothing. A function within a
function is counted on its own; a lambda belongs to the function around it.
"""

import ast
import warnings
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

type Function = tuple[str, int, int]  # qualified name, line, complexity
type Measured = tuple[str, int, str, tuple[Function, ...]]  # file, lines, error or "", functions

type _Scope = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef

_SCOPES: Final = frozenset({ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef})
_LEAVES: Final = frozenset(  # nothing below them branches
    {ast.Name, ast.Constant, ast.alias, ast.Load, ast.Store, ast.Del, type(None), str, int, bool}
)
_BRANCHES: Final = frozenset(
    {ast.If, ast.IfExp, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler}
)
_COUNTED: Final = frozenset({ast.BoolOp, ast.comprehension, ast.match_case})


class Totals(NamedTuple):
    """Sums over many files."""

    files: int
    unparsable: int
    lines: int
    functions: int
    complexity: int


def quiet() -> None:
    """Set up a worker: SyntaxWarnings of the measured files aren't the demo's output."""
    warnings.simplefilter("ignore")


def measure_files(paths: Sequence[str]) -> tuple[Measured, ...]:
    """One chunk of work."""
    return tuple(map(measure_file, paths))


def measure_file(path: str) -> Measured:
    """Measure one file. One that doesn't parse has the name of the error and no functions."""
    try:
        with open(path, "rb") as file:
            source = file.read()
    except OSError as error:
        return path, 0, type(error).__name__, ()
    lines = source.count(b"\n") + (not source.endswith(b"\n") if source else 0)
    try:
        tree = ast.parse(source, path)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return path, lines, type(error).__name__, ()
    return path, lines, "", functions_of(tree)


def functions_of(tree: ast.Module) -> tuple[Function, ...]:
    """Every function of a module, in the order of their lines."""
    found: list[Function] = []
    todo: list[tuple[_Scope, str]] = [(tree, "")]
    while todo:
        scope, prefix = todo.pop()
        branches, inner = _survey(scope)
        name = "" if isinstance(scope, ast.Module) else prefix + scope.name
        if isinstance(scope, ast.FunctionDef | ast.AsyncFunctionDef):
            found.append((name, scope.lineno, 1 + branches))
        below = f"{name}." if name else ""
        todo += [(one, below) for one in inner]
    found.sort(key=lambda function: (function[1], function[0]))
    return tuple(found)


def _survey(scope: _Scope) -> tuple[int, list[_Scope]]:
    """Count the branches of a scope itself, and list the scopes within it.

    This loop sees every node: it is most of the demo's pure Python. Scopes stand only in lists.
    """
    branches = 0
    inner: list[_Scope] = []
    nodes: list[Any] = [scope]
    for node in nodes:  # grows meanwhile
        kind = type(node)
        if kind in _BRANCHES:
            branches += 1
        elif kind in _COUNTED:
            branches += _weight(node)
        for field in kind._fields:
            value = getattr(node, field)
            if type(value) is not list:
                if type(value) not in _LEAVES:
                    nodes.append(value)
                continue
            for child in value:
                if type(child) in _SCOPES:
                    inner.append(child)
                elif type(child) not in _LEAVES:
                    nodes.append(child)
    return branches, inner


def _weight(node: ast.AST) -> int:
    match node:
        case ast.BoolOp(values=values):
            return len(values) - 1
        case ast.comprehension(ifs=ifs):
            return len(ifs)
        case ast.match_case(pattern=ast.MatchAs(pattern=None, name=None), guard=None):
            return 0
        case _:
            return 1


def total(results: Sequence[Measured]) -> Totals:
    return Totals(
        files=len(results),
        unparsable=sum(bool(error) for _, _, error, _ in results),
        lines=sum(lines for _, lines, _, _ in results),
        functions=sum(len(functions) for *_, functions in results),
        complexity=sum(one[2] for *_, functions in results for one in functions),
    )


def most_complex(results: Sequence[Measured], count: int) -> list[tuple[str, str, int, int]]:
    """File, function, line and complexity of the `count` most complex functions."""
    every = ((path, *one) for path, _, _, functions in results for one in functions)
    return sorted(every, key=lambda one: (-one[3], one[0], one[2]))[:count]
