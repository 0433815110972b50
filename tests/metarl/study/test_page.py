"""The page: nothing from files is markup."""

from __future__ import annotations

import json

import numpy as np


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
