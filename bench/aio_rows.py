"""The measurements of isles.aio: queues and calls that are awaited, beside asyncio's own queue and
beside a thread for each of what blocks."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any

import work
from queue_rows import add_rows
from rows import Plan, Row, alternate
from sides import isles_side

BATCH_NS = 20_000_000
MANY = 1_000
THREAD = "run_in_executor"

Once = Callable[[], Awaitable[Any]]


class Awaited:
    """Samples the ns of what is awaited, again and again, or of `each` in one."""

    def __init__(self, runner: asyncio.Runner, once: Once, each: int = 1):
        self._runner = runner
        self._once = once
        self._each = each
        self._count = 20 // each or 1
        self._count = max(1, int(BATCH_NS / each / self()))

    async def _take(self) -> float:
        once = self._once
        start = time.perf_counter_ns()
        for _ in range(self._count):
            await once()
        return (time.perf_counter_ns() - start) / self._count / self._each

    def __call__(self) -> float:
        return self._runner.run(self._take())


async def put_and_get(queue: Any) -> None:
    await queue.put(1)
    await queue.get()


async def get_and_put(queue: Any) -> None:
    """The get has to wait."""
    get = asyncio.ensure_future(queue.get())
    await asyncio.sleep(0)
    await queue.put(1)
    await get


class InThreads:
    """An isles.Queue with a thread for each get."""

    def __init__(self, queue: Any):
        self._queue = queue

    def get(self) -> Any:
        return asyncio.get_running_loop().run_in_executor(None, self._queue.get)

    async def put(self, item: object) -> None:
        self._queue.put(item)


def in_a_thread(func: Callable[..., Any], *args: Any) -> Awaitable[Any]:
    return asyncio.get_running_loop().run_in_executor(None, func, *args)


async def together(once: Once) -> None:
    await asyncio.gather(*(once() for _ in range(MANY)))


def awaited(plan: Plan) -> Iterator[Row]:
    if not isles_side():
        return
    import isles
    from isles import aio

    with asyncio.Runner() as runner, isles.create() as interp:
        queues = {
            "asyncio.Queue": asyncio.Queue(),
            THREAD: InThreads(isles.create_queue()),
            "isles": aio.create_queue(),
        }
        runner.run(asyncio.sleep(0))
        for name, once in (
            ("await put + get", put_and_get),
            ("await get that waits for a put", get_and_put),
        ):
            samplers = {side: Awaited(runner, partial(once, q)) for side, q in queues.items()}
            yield from add_rows(alternate(samplers, plan.rounds(40)), name)
        one = aio.Interpreter(interp)
        calls: dict[str, Once] = {
            THREAD: partial(in_a_thread, interp.call, work.nothing),
            "a function in a thread": partial(in_a_thread, work.nothing),
            "isles": partial(one.call, work.nothing),
        }
        samplers = {side: Awaited(runner, once) for side, once in calls.items()}
        yield from add_rows(alternate(samplers, plan.rounds(40)), "await call(f)")
        del calls[THREAD]  # several threads would find the interpreter busy
        samplers = {
            side: Awaited(runner, partial(together, once), MANY) for side, once in calls.items()
        }
        yield from add_rows(alternate(samplers, plan.rounds(12)), "await call(f), 1,000 at once")
        del one, calls, samplers


GROUPS = {"aio": awaited}
