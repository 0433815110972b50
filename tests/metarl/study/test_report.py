"""The report: one well-formed page with everything in it, nothing unescaped, and commands that make the same runs."""

from __future__ import annotations

from comparisons import write_log


def test_the_page_holds_figure_tables_notes_and_differences(write_run, reports):
    runs = [write_run(), write_run(inner_lr=0.5, name="b"), write_run("metanet-point", num_episodes=2, env_steps=900)]
    page, html, markdown = reports(*runs)
    assert html.startswith("<!doctype html>") and "color-scheme: light dark" in html
    assert not page.all("script") and not page.all("link") and "http" not in html
    for text in (page.text, markdown):
        for name in ("MAML, inner_lr 0.1", "MAML, inner_lr 0.5", "MetaNet", "random"):
            assert name in text
        assert "algorithm.inner_lr" in text and "num_iterations" not in text.split("Commands that make")[0]
        assert "Unequal budgets" in text and "after 4 episodes" in text
    assert "3 methods on point/finn2017" in page.text
    assert len(page.all("table")) == 5
    assert "![Adaptation curves](c.png)" in markdown


def test_videos_are_linked_by_a_path_that_leads_from_the_report(write_run, reports, tmp_path):
    runs = [write_run(name="a run#1"), write_run(seed=1)]
    page, _, markdown = reports(*runs)
    assert not page.all("video")
    command = f"metarl record '{runs[0]}' --output '{runs[0]}/a run#1.mp4'"
    assert command in page.text and command in markdown
    (runs[0] / "a & b.mp4").touch()
    (runs[1] / "c.mp4").touch()
    page, html, markdown = reports(*runs)
    links = ["../a%20run%231/a%20%26%20b.mp4", "../maml-point-1/c.mp4"]
    assert [video["src"] for video in page.all("video")] == links
    assert all("controls" in video for video in page.all("video"))
    assert "MAML, seed 0: a & b.mp4" in page.text and "a &amp; b.mp4" in html
    assert all(f"]({link})" in markdown for link in links)
    assert (tmp_path / "study" / "../maml-point-1/c.mp4").exists()


def test_the_report_has_learning_curves_of_the_runs_that_have_a_log(write_run, reports):
    runs = [write_run(), write_run("rl2-point", name="b")]
    page, html, _ = reports(*runs)
    assert len(page.all("svg")) == 1 and "Learning curves" not in page.text
    write_log(runs[1], [-3.0, -2.0])
    page, html, _ = reports(*runs)
    assert len(page.all("svg")) == 2
    assert "no log: MAML" in html.split("<svg")[-1]
    assert "RL² −2.00" in html.split("<svg")[-1]


def test_embedded_videos_leave_no_reference_to_another_file(write_run, reports):
    run = write_run()
    (run / "a.mp4").write_bytes(b"film")
    page, html, _ = reports(run, embed=True)
    assert [video["src"] for video in page.all("video")] == ["data:video/mp4;base64,ZmlsbQ=="]
    assert "http" not in html and "@import" not in html and "url(" not in html.replace("url(#", "")
    for name in ("href", "src", "srcset", "poster", "data"):
        links = [attributes[name] for _, attributes in page.tags if name in attributes]
        assert all(link.startswith(("#", "data:")) for link in links)


def test_the_commands_are_those_that_made_the_runs(write_run, reports):
    first, second = write_run(command="metarl evaluate 'a b'"), write_run(seed=1)
    (first / "command.txt").write_text("metarl train maml-point\nmetarl train --resume x\n")
    page, _, markdown = reports(first, second)
    lines = ["metarl train maml-point", "metarl train --resume x"]
    lines += ["metarl evaluate 'a b'", f"# {second} was not made by metarl train"]
    assert "\n".join(lines) in page.text
    assert "\n".join(f"    {line}" for line in lines) in markdown
