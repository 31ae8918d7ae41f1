"""How many CPUs the process may use."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


def usable() -> int:
    """How many CPUs the process may use: its affinity, or what its control group allows."""
    cpus = os.process_cpu_count() or 1
    quota = min(_quotas(), default=cpus)
    return max(1, min(cpus, math.ceil(quota)))


def _quotas() -> Iterator[float]:
    """How many CPUs' time each of the process's control groups may take."""
    for line in _read("/proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            yield from _quotas_above("/sys/fs/cgroup", path, "cpu.max")
        elif "cpu" in controllers.split(","):
            root = f"/sys/fs/cgroup/{controllers}"
            yield from _quotas_above(root, path, "cpu.cfs_quota_us", "cpu.cfs_period_us")


def _quotas_above(root: str, path: str, *files: str) -> Iterator[float]:
    while True:
        folder = f"{root}/{path.strip('/')}"
        # "max 100000" and a quota of -1 are no limits.
        match " ".join(_read(f"{folder}/{file}") for file in files).split():
            case [quota, period] if quota.isdecimal() and period.isdecimal() and int(period):
                yield int(quota) / int(period)
        if not path.strip("/"):
            return
        path = os.path.dirname(path.rstrip("/"))


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
