"""Arguments of ``python -m isles``."""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from typing import NoReturn

import isles

from .errors import INTERRUPTED, READER_GONE, WRONG_USAGE, CommandError, UsageError

MAP_HELP = """\
Call FUNCTION with each INPUT (a string) on all cores, in isolated interpreters.

The results are JSON lines on standard output, in the order of the inputs, each
written as soon as its turn comes: {"input": ..., "result": ...}, or, for an
input that failed, {"input": ..., "error": {"type": ..., "message": ...}} with
the traceback on standard error. What FUNCTION itself prints goes to standard
error, and its standard input is empty."""

DEMO_HELP = """\
Measure every file of this Python's standard library (functions, lines and
cyclomatic complexity) in one interpreter, in threads, in processes and in
isolated interpreters, check that all four find the same, and compare them."""

CHECK_HELP = """\
Say which packages work in isolated interpreters. For each distribution or
import name, in fresh processes: does every extension module of it import in one
isolated interpreter and in four at once, which ones got private copies, does a
small use of the package run (for well-known ones), and what does it cost in
time and memory. What fails in the main interpreter too doesn't count. A crash
is a row of the table."""

CHECK_EXIT_CODES = """\
exit codes: 0 all work, 1 some don't, 2 wrong usage, 130 interrupted"""

EXIT_CODES = """\
exit codes: 0 all inputs done, 1 some failed, 2 wrong usage, 130 interrupted"""


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(WRONG_USAGE, f"{self.prog}: {message} (see {self.prog} --help)\n")


def positive(text: str) -> int:
    """A count of one or more."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return number


def target(text: str) -> tuple[str, str]:
    """``MODULE:FUNCTION``, both possibly dotted."""
    module, _, function = text.partition(":")
    parts = module.split(".") + function.split(".")
    if not all(part.isidentifier() for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r} is not MODULE:FUNCTION")
    return module, function


def default_workers() -> int:
    return os.process_cpu_count() or 1


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse; within a command, options may stand between the inputs (on 3.13 too)."""
    parser, commands = build_parsers()
    if arguments and arguments[0] in commands:
        return commands[arguments[0]].parse_intermixed_args(arguments[1:])
    parser.parse_args(arguments)
    parser.print_help(sys.stderr)
    parser.exit(WRONG_USAGE)


def build_parsers() -> tuple[Parser, Mapping[str, Parser]]:
    """The parser of `python -m isles` and those of its commands."""
    parser = Parser(
        prog="python -m isles",
        description="Python in isolated interpreters: every core, one process.",
    )
    parser.add_argument("--version", action="version", version=f"isles {isles.__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", parser_class=Parser)
    add_map(commands)
    add_demo(commands)
    add_check(commands)
    return parser, commands.choices


def add_jobs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-j",
        "--jobs",
        metavar="N",
        type=positive,
        default=default_workers(),
        help="how many run at once (default: the number of CPUs, here %(default)s)",
    )


def add_map(commands: "argparse._SubParsersAction[Parser]") -> None:
    parser = commands.add_parser(
        "map",
        help="call a function with many inputs, on all cores",
        description=MAP_HELP,
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command="map")
    parser.add_argument("target", metavar="MODULE:FUNCTION", type=target)
    parser.add_argument(
        "inputs", metavar="INPUT", nargs="*", help="default: the lines of standard input"
    )
    parser.add_argument(
        "--glob",
        metavar="PATTERN",
        action="append",
        default=[],
        help="also the files that match, sorted; ** goes into folders; may be repeated",
    )
    add_jobs(parser)


def add_demo(commands: "argparse._SubParsersAction[Parser]") -> None:
    parser = commands.add_parser(
        "demo",
        help="compare one interpreter, threads, processes and isolated interpreters",
        description=DEMO_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command="demo")
    add_jobs(parser)
    parser.add_argument("--files", metavar="N", type=positive, help="only the first N files")
    parser.add_argument("--chart", metavar="FILE.svg", help="also draw the comparison as SVG")
    parser.add_argument("--json", action="store_true", help="print JSON in place of the tables")


def add_check(commands: "argparse._SubParsersAction[Parser]") -> None:
    parser = commands.add_parser(
        "check",
        help="say which packages work in isolated interpreters",
        description=CHECK_HELP,
        epilog=CHECK_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command="check")
    parser.add_argument("packages", metavar="PACKAGE", nargs="*")
    parser.add_argument(
        "-r",
        "--requirement",
        metavar="FILE",
        action="append",
        default=[],
        help="also what a requirements file names; may be repeated",
    )
    parser.add_argument(
        "--installed", action="store_true", help="also all installed ones with extension modules"
    )
    parser.add_argument(
        "--stdlib", action="store_true", help="also with the standard library's policy"
    )
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=positive,
        default=300,
        help="how long one process may take (default: %(default)s)",
    )
    parser.add_argument(
        "-j",
        "--jobs",
        metavar="N",
        type=positive,
        default=1,
        help="how many packages at once (default: %(default)s; more than one disturbs the figures)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON in place of the table")


def dispatch(options: argparse.Namespace) -> int:
    if options.command == "map":
        from . import mapping

        return mapping.run(options)
    if options.command == "check":
        from . import check

        return check.run(options)
    from . import demo

    return demo.run(options)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code."""
    options = parse(sys.argv[1:] if arguments is None else arguments)
    try:
        return dispatch(options)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at exit
        return READER_GONE
    except (UsageError, CommandError) as error:
        print(f"isles {options.command}: {error}", file=sys.stderr)
        return WRONG_USAGE if isinstance(error, UsageError) else 1
