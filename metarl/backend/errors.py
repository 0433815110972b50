"""Errors of training that end a script with one sentence."""

from __future__ import annotations


class NonFiniteError(ArithmeticError):
    """Training, or playing, met a number that is not finite. The message says where, and what is kept."""


class ParallelError(RuntimeError):
    """The processes of a job cannot go on together. The message says why."""
