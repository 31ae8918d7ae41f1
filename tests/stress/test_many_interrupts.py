"""A million short tasks and random interrupts: each reaches the task that was meant, or none."""

import bisect
import os
import random
import threading
import time

import pytest
from spinning import spin

import isles

TASKS = 1_000_000
BATCH = 5_000
WORKERS = 2
LENGTHS = [0] * 20 + [200] * 20 + [10_000]


class Interrupter(threading.Thread):
    """Interrupts tasks of the newest batch, each by an exception that has its number."""

    def __init__(self, pool, seed):
        super().__init__()
        self.pool = pool
        self.random = random.Random(seed)
        self.batch = []
        self.sent = 0
        self.over = False

    def run(self):
        while not self.over:
            batch = self.batch
            time.sleep(0.0001)  # most of main's GIL is for the workers, between two tasks
            if batch:
                # What runs about now: they end nearly in their order.
                number = bisect.bisect_left(batch, True, key=lambda task: not task.done())
                number += self.random.randrange(WORKERS + 1)
                if number < len(batch):
                    self.sent += self.pool.interrupt(batch[number], InterruptedError(number))


@pytest.mark.slow
def test_each_interrupt_reaches_its_task_or_none():
    seed = int(os.environ.get("ISLES_SEED") or random.randrange(1_000_000))
    lengths = random.Random(seed)
    hits = 0
    with isles.InterpreterPoolExecutor(WORKERS, preload=["spinning"]) as pool:
        interrupter = Interrupter(pool, seed)
        interrupter.start()
        try:
            for _ in range(TASKS // BATCH):
                interrupter.batch = batch = [
                    pool.submit(spin, lengths.choice(LENGTHS)) for _ in range(BATCH)
                ]
                for number, task in enumerate(batch):
                    error = task.exception(60)
                    if error is None:
                        assert task.result() is None, f"ISLES_SEED={seed}"
                    else:
                        hits += 1
                        assert type(error) is InterruptedError, f"ISLES_SEED={seed}: {error!r}"
                        assert error.args == (number,), f"ISLES_SEED={seed}"
        finally:
            interrupter.over = True
            interrupter.join()
    print(f"{TASKS} tasks, {interrupter.sent} interrupts sent, {hits} arrived")
    assert 0 < hits <= interrupter.sent
