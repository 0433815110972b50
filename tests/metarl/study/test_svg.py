"""Charts inside a page."""

from __future__ import annotations

import re

from metarl.figures.appearance import LOOKS, on_dark


def test_charts_follow_the_scheme_of_the_page(write_run, reports):
    _, html, _ = reports(write_run(), write_run("rl2-point", name="b"))
    chart = html[html.index("<svg") : html.rindex("</svg>")]
    used = set(re.findall(r"(?:fill|stroke): ([^;\"]+)", chart)) - {"none"}
    assert used and all(colour.startswith("var(--") for colour in used)
    light, dark = re.findall(r":root { (--[0-9a-f]{6}: .*?)}", html)
    for theme in (light, dark):
        assert {f"var({name})" for name in re.findall(r"--[0-9a-f]{6}", theme)} >= used
    own = LOOKS["rl2"].colour
    assert f"--{own[1:]}: {own};" in light and f"--{own[1:]}: {on_dark(own)};" in dark
