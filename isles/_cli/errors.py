"""Exit codes, and what the commands raise to end with a message on standard error."""

from typing import Final

WRONG_USAGE: Final = 2
INTERRUPTED: Final = 130  # what a shell reports for a command that SIGINT ended
READER_GONE: Final = 141  # the same for SIGPIPE


class UsageError(Exception):
    """The command can't start as it was asked to."""


class CommandError(Exception):
    """The command started and couldn't go on: exit code 1."""
