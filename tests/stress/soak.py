"""Eight interpreters on one queue under closes, shutdowns and Ctrl-C: no item is lost.

`python soak.py SECONDS SEED` prints what it did, or fails. Rounds of about a second: each has a
queue of its own, four writers and four readers in interpreters, and the main thread as one more
reader, who is interrupted by SIGINT all the time. Writers end at random, and their interpreters
with them, while others begin in new ones; in the end the queue is shut down.

The account of a round: what writers have put, for each its items 0, 1, 2 ..., is what readers have
got, each reader in order, but for those that became UNBOUND with the interpreter that put them. In
rounds that end with shutdown(immediate=True) what was still in the queue is missing as well.
"""

import gc
import os
import random
import signal
import sys
import threading
import time
from collections import Counter, deque

import isles

WRITERS = READERS = 4
BARE_CYCLES = 20
GROWTH_FREE_KIB = 30_000


def write(queue, writer, limit):
    """Put up to `limit` items, some at once, and give how many were put."""
    done = 0
    while done < limit:
        many = min(limit - done, 1 + done % 5)
        items = [(writer, number) for number in range(done, done + many)]
        try:
            queue.put_many(items)
        except isles.ShutDown as error:
            return done + error.items_put
        done += many
    return done


def read(queue):
    """Get all until the queue is shut down: by writer how many, their sum; how many are unbound."""
    account = {}
    unbound = 0
    for item in queue:
        if item is isles.UNBOUND:
            unbound += 1
            continue
        writer, number = item
        count, total, last = account.get(writer, (0, 0, -1))
        if number <= last:
            raise AssertionError(f"item {number} of writer {writer} came after {last}")
        account[writer] = count + 1, total + number, number
    return account, unbound


class Interrupted:
    """The main thread as a reader; SIGINT ends its wait now and then."""

    def __init__(self):
        self.count = 0
        self._armed = False
        signal.signal(signal.SIGINT, self._handle)

    def _handle(self, *_):
        if self._armed:
            self._armed = False
            raise KeyboardInterrupt

    def read(self, queue):
        got = deque()
        while True:
            try:
                self._armed = True
                got.extend(queue)  # all in C: no place where an item is in no one's hands
                self._armed = False
                return read(got)
            except KeyboardInterrupt:
                self.count += 1


class Round:
    def __init__(self, rng, interrupted):
        self.rng = rng
        self.interrupted = interrupted
        self.queue = isles.create_queue(rng.choice([0, 1, 3, 50]), unbounditems=isles.UNBOUND)
        self.put = {}
        self.reports = []
        self.errors = []
        self.ended = 0
        self.threads = []

    def _start(self, body, *args):
        def run():
            try:
                body(*args)
            except BaseException as error:
                self.errors.append(error)

        self.threads.append(threading.Thread(target=run))
        self.threads[-1].start()

    def _write(self, number, seed, until):
        """One writer after another, each in an interpreter that ends at once."""
        rng = random.Random(seed)
        turn = 0
        while time.monotonic() < until:
            writer = number * 1_000_000 + turn
            turn += 1
            interp = isles.create()
            self.put[writer] = interp.call(write, self.queue, writer, rng.randrange(1, 2000))
            if rng.random() < 0.7:
                interp.close()
            del interp  # otherwise it ends here
            self.ended += 1

    def _read(self):
        with isles.create() as interp:
            self.reports.append(interp.call(read, self.queue))
        self.ended += 1

    def _control(self, seconds, immediate):
        time.sleep(seconds)
        self.queue.shutdown(immediate)

    def run(self):
        seconds, immediate = self.rng.uniform(0.3, 1.5), self.rng.random() < 0.3
        until = time.monotonic() + seconds
        for number in range(WRITERS):
            self._start(self._write, number, self.rng.random(), until)
        for _ in range(READERS):
            self._start(self._read)
        self._start(self._control, seconds, immediate)
        self.reports.append(self.interrupted.read(self.queue))
        for thread in self.threads:
            thread.join()
        if self.errors:
            raise self.errors[0]
        self._check(immediate)

    def _check(self, immediate):
        counts, totals = Counter(), Counter()
        for account, _ in self.reports:
            for writer, (count, total, _) in account.items():
                counts[writer] += count
                totals[writer] += total
        missing = 0
        for writer, put in self.put.items():
            assert counts[writer] <= put, (writer, counts[writer], put)
            missing += put - counts[writer]
            if counts[writer] == put:
                assert totals[writer] == put * (put - 1) // 2, (writer, totals[writer], put)
        assert counts.keys() <= self.put.keys()
        unbound = sum(unbound for _, unbound in self.reports)
        if immediate:
            assert unbound <= missing, (unbound, missing)
        else:
            assert unbound == missing, (unbound, missing)


def resident_kib():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


def left_by_cpython():
    """KiB that stay of an interpreter without any queue: 3.13 leaves megabytes, 3.15 little."""
    for cycles in (3, BARE_CYCLES):
        before = resident_kib()
        for _ in range(cycles):
            with isles.create() as interp:
                interp.call(resident_kib)
    return (resident_kib() - before) / BARE_CYCLES


def interrupter(until, seed):
    rng = random.Random(seed)
    while time.monotonic() < until:
        time.sleep(rng.uniform(0.001, 0.05))
        os.kill(os.getpid(), signal.SIGINT)


def main(seconds, seed):
    rng = random.Random(seed)
    interrupted = Interrupted()
    rounds = items = ended = 0
    Round(rng, interrupted).run()  # what is needed once is there now
    bare = max(0, left_by_cpython())  # less than none if what was there before went meanwhile
    start = resident_kib()
    until = time.monotonic() + seconds
    sender = threading.Thread(target=interrupter, args=(until, rng.random()))
    sender.start()
    while time.monotonic() < until:
        one = Round(rng, interrupted)
        one.run()
        rounds += 1
        items += sum(one.put.values())
        ended += one.ended
        del one
    sender.join()
    gc.collect()
    assert [interp.id for interp in isles.list_all()] == [0]
    assert isles.queues.list_all() == []
    growth = resident_kib() - start
    assert growth < GROWTH_FREE_KIB + 1.5 * bare * ended, (growth, ended, bare)
    assert interrupted.count > 0
    print(
        f"seed {seed}: {rounds} rounds, {items} items, {ended} interpreters ended,"
        f" {interrupted.count} interrupts, {growth} KiB more,"
        f" {bare * ended:.0f} of them CPython's"
    )


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]))
