"""The error tree. Every message says what is wrong, where, and what to do; every class knows its exit code.

TokenmarkError
├── InvalidInput        2    a file, flag or object that cannot be accepted
├── ObjectiveMissed     3    the run is fine, its result is not
├── VerdictInvalid      4    the instrument does not stand behind its numbers
├── RunFailed           5    the target could not be reached, or nothing was measured
└── Interrupted       130    stopped by a person or by the cluster; partial results are kept
"""

from __future__ import annotations


class TokenmarkError(Exception):
    """Base of all errors of ours; `exit_code` is what the command line ends with."""

    exit_code = 5


class InvalidInput(TokenmarkError):
    exit_code = 2


class ObjectiveMissed(TokenmarkError):
    exit_code = 3


class VerdictInvalid(TokenmarkError):
    exit_code = 4


class RunFailed(TokenmarkError):
    exit_code = 5


class Interrupted(TokenmarkError):
    exit_code = 130
