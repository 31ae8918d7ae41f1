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
check           ``check``: which packages work in isolated interpreters
check_packages  what there is to check under a name
check_process   one try of a package in a fresh process
check_inside    what runs in that process and in its interpreters
check_smoke     a small use of each well-known package
check_report    the table of ``check``
==============  =============================================================
"""
