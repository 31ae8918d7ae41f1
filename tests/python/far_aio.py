"""Event loops inside interpreters: what test_aio.py calls there."""

import asyncio
import threading

from isles import aio


def serve(loop_factory, numbers, results):
    """Square numbers in a loop of this interpreter's own until there are no more; how many."""

    async def work():
        done = 0
        async for number in numbers:
            await results.put(number * number)
            done += 1
        return done

    async def main():
        return sum(await asyncio.gather(*(work() for _ in range(10))))

    return asyncio.run(main(), loop_factory=loop_factory)


def idle(begun):
    """A loop that has nothing to do but wait for a timer."""

    async def main():
        begun.put(None)
        await asyncio.sleep(100)

    aio.run(main())


def idle_on(begun, queue):
    async def main():
        begun.put(None)
        await queue.get()

    asyncio.run(main())


def call_on(begun, other, func, *args):
    """From a loop here into one more interpreter."""

    async def main():
        begun.put(None)
        await aio.Interpreter(other).call(func, *args)

    asyncio.run(main())


loops = []


def leave_pending(queue):
    """A loop that is left as it is, with something that waits."""
    loop = asyncio.new_event_loop()
    full = aio.create_queue(1)
    full.put_nowait(0)
    tasks = loop.create_task(queue.get()), loop.create_task(full.put(bytearray(9)))
    loop.run_until_complete(asyncio.sleep(0.01))
    loops.append((loop, tasks))
    return full


def loop_in_a_thread(queue):
    """Goes on when the call is over."""
    started = threading.Event()

    async def main():
        started.set()
        async for item in queue:
            print(item)

    threading.Thread(target=asyncio.run, args=(main(),)).start()
    started.wait()
