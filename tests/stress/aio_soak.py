"""Loops in four interpreters, and threads, on one queue, with everything cancelled at random: no
item is lost, none comes twice, and an interruption reaches the call that it was meant for.

`python aio_soak.py SECONDS SEED` prints what it did, or fails. Rounds of about half a second: each
has a queue of its own. The account of a round: got is what was put, each item once; a put that was
cancelled may or may not have happened. Meanwhile other interpreters are called with timeouts that
are over before, while or after they run; what is not cancelled gives its own result.
"""

import asyncio
import contextlib
import random
import sys
import threading
import time
from collections import Counter

import isles
from isles import aio

INTERPS = 4
TASKS = 6
ITEMS = 60
CALLS = 150


def joined(lists):
    return [item for part in lists for item in part]


async def write(queue, random, writer):
    """Put up to ITEMS; which were put, and which may have been."""
    put, perhaps = [], []
    for number in range(ITEMS):
        item = (writer, number)
        try:
            async with asyncio.timeout(some_time(random)):
                await queue.put(item)
            put.append(item)
        except TimeoutError:
            perhaps.append(item)
    return put, perhaps


async def read(queue, random):
    got = []
    while True:
        try:
            async with asyncio.timeout(some_time(random)):
                got.append(await queue.get())
        except TimeoutError:
            pass
        except isles.ShutDown:
            return got


def some_time(random):
    return random.choice([None, 0, random.random() / 1000, random.random() / 50])


async def take_part(queue, seed, name):
    """Writers and readers in one loop: what they put, may have put, and got."""
    rng = random.Random(seed)
    reading = [asyncio.create_task(read(queue, rng)) for _ in range(TASKS)]
    async with asyncio.TaskGroup() as group:
        writing = [group.create_task(write(queue, rng, (name, i))) for i in range(TASKS)]
    put, perhaps = map(joined, zip(*(task.result() for task in writing)))
    return put, perhaps, reading


def in_a_loop(queue, seed, name, written):
    async def main():
        put, perhaps, reading = await take_part(queue, seed, name)
        written.put(name)
        return put, perhaps, joined(await asyncio.gather(*reading))

    return asyncio.run(main())


def in_a_thread(queue, got):
    for item in queue:
        got.append(item)


async def exchange(interps, seed):
    queue, written = aio.create_queue(seed % 4), aio.create_queue()
    got = []
    thread = threading.Thread(target=in_a_thread, args=(queue.queue, got))
    thread.start()
    parts = [
        asyncio.create_task(interp.call(in_a_loop, queue, seed + i, i, written.queue))
        for i, interp in enumerate(interps)
    ]
    put, perhaps, reading = await take_part(queue, seed, "main")
    for _ in interps:
        await written.get()
    queue.shutdown()
    got_here, got_there = joined(await asyncio.gather(*reading)), await asyncio.gather(*parts)
    await asyncio.to_thread(thread.join)
    got += got_here
    for part in got_there:
        put, perhaps, got = put + part[0], perhaps + part[1], got + part[2]
    account = Counter(got)
    assert not account or max(account.values()) == 1, "an item came twice"
    assert not set(put) - set(got), f"lost: {set(put) - set(got)}"
    assert not set(got) - set(put) - set(perhaps), "got what was not put"
    return len(got)


def work(number, seconds):
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        pass
    return number


async def call(func, rng, number):
    """Whether it was cancelled."""
    try:
        async with asyncio.timeout(rng.random() / 20):
            assert await func(work, number, rng.random() / 100) == number
    except TimeoutError:
        return True
    return False


async def calls(interp, pool, seed):
    rng = random.Random(seed)
    loop = asyncio.get_running_loop()

    def in_the_pool(*args):
        return loop.run_in_executor(pool, *args)

    results = []
    for _ in range(CALLS // 10):
        batch = (call(rng.choice([interp.call, in_the_pool]), rng, number) for number in range(10))
        results += await asyncio.gather(*batch)
    return sum(results)


async def main(seconds, seed):
    end = time.monotonic() + seconds
    rng = random.Random(seed)
    rounds = items = cancelled = 0
    async with contextlib.AsyncExitStack() as stack:
        made = [await stack.enter_async_context(await aio.create()) for _ in range(INTERPS + 1)]
        pool = stack.enter_context(aio.InterpreterPoolExecutor(2))
        for warm in [one.call for one in made]:
            await warm(work, 0, 0)
        await asyncio.gather(
            *(asyncio.get_running_loop().run_in_executor(pool, work, 0, 0.1) for _ in range(2))
        )
        while time.monotonic() < end:
            seed = rng.randrange(1_000_000)
            got, stopped = await asyncio.gather(
                exchange(made[1:], seed), calls(made[0], pool, seed)
            )
            rounds, items, cancelled = rounds + 1, items + got, cancelled + stopped
    print(f"{rounds} rounds, {items} items, {cancelled} calls cancelled")


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1]), int(sys.argv[2])))
