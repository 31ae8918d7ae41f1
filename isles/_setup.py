"""How the interpreters of a pool's workers are made, and ended."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import isles
from isles import _tasks

if TYPE_CHECKING:
    from collections.abc import Callable

    from isles._extensions import Policy


class Setup(NamedTuple):
    """How a worker's interpreter is made."""

    isolated: bool
    extensions: Policy | None
    preload: list[str]
    initializer: Callable[..., object] | None
    initargs: tuple[Any, ...]
    outputs: dict[str, Any]  # isles._output

    def make(self) -> isles.Interpreter:
        return isles.create(isolated=self.isolated, extensions=self.extensions, **self.outputs)

    def load(self, interp: isles.Interpreter) -> None:
        if self.preload:
            interp.call(_tasks.preload, self.preload)

    def prepare(self, interp: isles.Interpreter) -> None:
        self.load(interp)
        if self.initializer is not None:
            interp.call(_tasks.initialize, self.initializer, *self.initargs)


def surroundings() -> Any:
    """What a new interpreter takes over from this one and the process."""
    return sys.path.copy(), dict(os.environ)


def close(interp: isles.Interpreter) -> None:
    try:
        interp.close()
    except (isles.InterpreterError, SystemExit):
        pass  # somebody was faster, or the process ends
