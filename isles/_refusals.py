"""Why a pool takes no task."""

from concurrent.futures.thread import BrokenThreadPool


class BrokenInterpreterPool(BrokenThreadPool):
    """A worker's initializer or one of the modules to preload failed: nothing runs any more."""


def after_shutdown() -> Exception:
    return RuntimeError("cannot schedule new futures after shutdown")


def after_exit() -> Exception:
    return RuntimeError("cannot schedule new futures after interpreter shutdown")


def broken() -> Exception:
    return BrokenInterpreterPool(
        "an initializer failed, or a module to preload (the log has the traceback): the pool is not"
        " usable any more"
    )
