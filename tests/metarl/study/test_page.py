"""The page: nothing from files is markup, and charts follow its scheme."""

from __future__ import annotations

import json
import re

import numpy as np

from metarl.figures.appearance import LOOKS, on_dark


def test_nothing_from_files_is_markup(write_run, reports):
    evil = "<script>alert(1)</script>\"'&|x"
    run = write_run(evil, references={evil: np.array([[[-5.0]], [[-3.0]]])}, name="x")
    config = json.loads((run / "config.json").read_text())
    config["train"]["algorithm"]["note"] = "</pre><img src=x onerror=alert(1)>"
    (run / "config.json").write_text(json.dumps(config))
    page, _, markdown = reports(run, write_run(name="<b>"))
    assert not page.all("script") and not page.all("b") and not page.all("img")
    assert page.text.count(evil) >= 4 and "</pre><img src=x" in page.text
    table = [line for line in markdown.splitlines() if line.startswith("|")]
    assert not any("<script" in line or "<img" in line for line in table)
    assert len({line.replace("\\|", "").count("|") for line in table[:5]}) == 1


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
