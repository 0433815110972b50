"""A test that asks for `family` and `preset` runs over every registered family with every preset."""

import envs


def pytest_generate_tests(metafunc):
    if {"family", "preset"} <= set(metafunc.fixturenames):
        cases = [(family, preset) for family in envs.FAMILIES for preset in envs.FAMILIES[family].presets]
        metafunc.parametrize(("family", "preset"), cases, ids=["/".join(case) for case in cases])
