"""The command line, ``python -m isles``. ``import isles`` never imports it.

==============  =============================================================
main            arguments, and which command runs
mapping         ``map``: a function over many inputs, results as JSON lines
demo            ``demo``: the same work in four ways, compared
engine          workers, each a thread that owns an interpreter (map and demo)
remote          what ``map`` runs inside those interpreters
progress        the progress bar and everything else that ``map`` writes
complexity      the demo's work: functions, lines and complexity of a file
ways            the demo's four ways, each measured in a fresh Python
memory          resident memory of a process and all that it started
report, svg     the demo's table and charts
==============  =============================================================
"""
