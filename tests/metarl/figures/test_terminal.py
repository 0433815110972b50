"""Tables in a terminal: nothing is cut."""

from __future__ import annotations

from printed_tables import check
from rich.table import Table

from metarl.figures.terminal import show, words


def one(**options) -> Table:
    out = Table(**options)
    for k, name in enumerate(("case", "sampling s", "optimization s", "steps/s", "said")):
        out.add_column(name, justify="right" if k else "left", overflow="fold" if name == "said" else "ellipsis")
    out.add_row("maml-half-cheetah-vel-rollout", "0.123", "1,000.4", "1,234,567", "words " * 30 + "at last")
    return out


def test_a_table_that_is_too_wide_is_stacked_beside_its_first_column(width, capsys):
    show(one(title="The title", caption="The caption"))
    text = capsys.readouterr().out
    check(text, width, ["case", "maml-half-cheetah-vel-rollout"], ["sampling s", "0.123", "1,000.4", "1,234,567"])
    assert text.count("case") == (1 if width > 100 else text.count("maml-half"))
    assert text.count("The title") == text.count("The caption") == 1
    assert text.count("words") == 30 and "last" in text


def test_a_width_that_the_user_sets_counts_and_a_script_may_use_less(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "300")
    show(one(), most=90)
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 90


def test_plain_text_is_taken_as_it_is(capsys):
    show(words("[bold]title[/]", [("a", "[0, 1]"), ("b", "[bold]")], "name", "value"), most=90)
    text = capsys.readouterr().out
    assert all(said in text for said in ("title", "name", "value", "[0, 1]", "[bold]")) and text.count("[bold]") == 1
