"""Errors of training that end a script with one sentence."""

from __future__ import annotations


class NonFiniteError(ArithmeticError):
    """A number that is not finite in training or playing. The message says where, and what is kept."""


class ParallelError(RuntimeError):
    """The processes of a job cannot go on together. The message says why."""
