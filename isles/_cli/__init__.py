"""The command line, ``python -m isles``. ``import isles`` never imports it.

===============  ============================================================
main             arguments, and which command runs
tables           tables and bars on the terminal (demo and check)
memory           resident memory of a process and all that it started
errors           exit codes, and what ends a command with a message
mapping          ``map``: a function over many inputs, results as JSON lines
map_workers      its workers, each a thread that owns an interpreter
map_remote       what ``map`` runs inside its interpreters
map_progress     the progress bar and everything else that ``map`` writes
demo             ``demo``: the same work in four ways, compared
demo_complexity  that work: functions, lines and complexity of a file
demo_ways        the four ways, each measured in a fresh Python
demo_report      the tables and bars
demo_svg         the chart
check            ``check``: which packages work in isolated interpreters
check_packages   what there is to check under a name
check_process    one try of a package in a fresh process
check_inside     what runs in that process and in its interpreters
check_smoke      a small use of each well-known package
check_report     the table of ``check``
===============  ============================================================
"""
