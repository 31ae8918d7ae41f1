"""On PYTHONPATH, this measures which lines each process runs, in its main interpreter.

What coverage itself installs for that would do so in every interpreter.
"""

import _interpreters
import os

if _interpreters.get_current()[0] == _interpreters.get_main()[0]:
    import coverage

    os.environ["COVERAGE_PROCESS_START"] = os.environ["ISLES_COVERAGE"]
    coverage.process_startup()
    del os.environ["COVERAGE_PROCESS_START"]
