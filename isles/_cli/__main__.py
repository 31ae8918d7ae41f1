"""Measures one way of the demo: work as JSON on standard input, figures on standard output."""

import json
import sys

from isles._cli.demo_ways import measure
from isles._cli.errors import INTERRUPTED


def main() -> None:
    job = json.load(sys.stdin)
    chunks = [tuple(chunk) for chunk in job["chunks"]]
    print(json.dumps(measure(job["way"], chunks, job["workers"])), flush=True)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
