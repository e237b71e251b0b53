"""The error tree. Every message says what is wrong, where, and what to do; every class knows its exit code.

TokenmarkError
├── InvalidInput        2    a file, flag or object that cannot be accepted
└── RunFailed           5    the target could not be reached, or nothing was measured

A missed objective (3), an invalid verdict (4) and an interruption (130, 143) are no errors: there is a result.
"""

from __future__ import annotations


class TokenmarkError(Exception):
    """Base of all errors of ours; `exit_code` is what the command line ends with."""

    exit_code = 5


class InvalidInput(TokenmarkError):
    exit_code = 2


class RunFailed(TokenmarkError):
    exit_code = 5
