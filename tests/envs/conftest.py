"""A test that asks for `family` and `preset` runs over every registered family: one preset for each space and dynamics.

Presets that differ in sizes alone, such as the pulls of a bandit or a horizon, run the same code. Every preset is
played once, in tests/envs/test_core.py.
"""

import dataclasses
from functools import cache

import envs


def what_it_runs(family: str, preset: str) -> tuple:
    """What chooses code in an environment: spaces, words and switches, and which numbers are 0."""
    env = envs.make(family, preset)
    values = (getattr(env.config, field.name) for field in dataclasses.fields(env.config))
    choices = (bool(value) if isinstance(value, int | float) else str(value) for value in values)
    return family, str(env.observation_space), str(env.action_space), *choices


@cache
def distinct_cases() -> list[tuple[str, str]]:
    every = [(family, preset) for family in envs.FAMILIES for preset in envs.FAMILIES[family].presets]
    distinct = {what_it_runs(*case): case for case in reversed(every)}  # the first of each kind
    return [case for case in every if case in distinct.values()]


def pytest_generate_tests(metafunc):
    if {"family", "preset"} <= set(metafunc.fixturenames):
        cases = distinct_cases()
        metafunc.parametrize(("family", "preset"), cases, ids=["/".join(case) for case in cases])
