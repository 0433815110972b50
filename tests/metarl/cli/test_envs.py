"""scripts/list_envs.py: every family is shown, and tasks are drawn, described and saved."""

import json

import pytest

import envs
from envs.tasks import describe_task, load_tasks


@pytest.fixture(autouse=True)
def screen(monkeypatch, tmp_path):
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.chdir(tmp_path)


def words(text: str) -> str:
    """Without frames and line breaks."""
    return " ".join(text.translate(dict.fromkeys(map(ord, "│─╭╮╰╯┬┴├┤┼"), " ")).split())


def test_the_list_shows_all_of_every_family(script):
    result = script("list_envs")
    assert (result.status, result.err) == (0, "")
    assert max(map(len, result.out.splitlines())) <= 100
    text = words(result.out)
    for id, family in envs.FAMILIES.items():
        env = envs.make(id)
        for preset, config in family.presets.items():
            assert f"{preset} ({family.build(config, env.device).horizon})" in text
        shown = [
            id,
            family.gym_id,
            *(f"task: {name}" for name in env.task_space),
            *env.splits.values(),
            *env.references(),
        ]
        assert [x for x in shown if x not in text] == []
        assert str(env.action_space) in text and str(env.observation_space) in text


def test_units_are_shown(script):
    assert "task: goal [2] -2 to 2; m" in words(script("list_envs").out)


@pytest.mark.parametrize("columns", ["60", "100", "200"])
def test_it_fits_the_screen(script, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", columns)
    assert max(map(len, script("list_envs").out.splitlines())) <= min(100, int(columns))


@pytest.mark.parametrize("family", envs.FAMILIES)
def test_details_show_a_family_in_full(script, family):
    preset = list(envs.FAMILIES[family].presets)[-1]
    result = script("list_envs", "--family", family, "--preset", preset)
    assert (result.status, result.err) == (0, "")
    assert max(map(len, result.out.splitlines())) <= 100
    env, text = envs.make(family, preset), words(result.out)
    assert f"as {preset}" in text and str(env.observation_space) in text
    for name in vars(env.config):
        assert f" {name} " in text


def test_details_say_what_parameters_mean_and_how_presets_differ(script):
    text = words(script("list_envs", "--family", "point").out)
    assert "horizon 100 Steps in an episode. · semicircle 20, semicircle-sparse 20" in text


def test_tasks_are_drawn_by_seed_and_described(script):
    arguments = ("list_envs", "--family", "point", "--sample", 3, "--split", "ood", "--preset", "semicircle")
    first, again, other = (script(*arguments, "--seed", seed) for seed in (1, 1, 2))
    assert first.out == again.out != other.out
    env = envs.make("point", "semicircle")
    rows = env.task_to_dicts(env.sample_tasks(3, envs.task_generator(1, "ood"), "ood"))
    assert first.out.splitlines() == [describe_task(env, row) for row in rows]


def test_drawn_tasks_are_saved(script, tmp_path):
    path = tmp_path / "new" / "tasks.json"
    result = script("list_envs", "--family", "point", "--sample", 4, "--seed", 5, "--split", "test", "--output", path)
    assert result.status == 0 and result.out.splitlines()[-1] == f"Wrote {path}"
    content = json.loads(path.read_text())
    assert [content[name] for name in ("family", "preset", "split", "seed")] == ["point", "finn2017", "test", 5]
    env = envs.make("point")
    expected = env.sample_tasks(4, envs.task_generator(5, "test"), "test")
    assert env.task_to_dicts(load_tasks(path, env)) == env.task_to_dicts(expected)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--family", "piont"], "Unknown environment 'piont'. Did you mean 'point'?"),
        (["--family", "point", "--preset", "finn"], "Unknown preset of 'point' 'finn'. Did you mean 'finn2017'?"),
        (["--family", "point", "--sample", "2", "--split", "tran"], "Unknown split 'tran'. Did you mean 'train'?"),
        (["--family", "point", "--sample", "-1"], "sample must be at least 0, not -1."),
        (["--family", "point", "--sample", "1", "--seed", "-1"], "seed must lie in 0 .. 2^63 - 1, not -1."),
        (["--family", "point", "--sample", "1", "--output", "x.txt"], "The name of a file of tasks must end in .json"),
        (["--family", "point", "--output", "x.json"], "output has no use without sample"),
        (["--family", "point", "--split", "relu"], "split has no use without sample"),
        (["--split", "test"], "split has no use without sample"),
        (["--family", "point", "--seed", "1"], "seed has no use without sample"),
        (["--sample", "3"], "Say with --family which one is meant: point"),
        (["--preset", "finn2017"], "Say with --family which one is meant: point"),
        (["--imports", "no_such_module"], "--imports no_such_module: there is no module 'no_such_module'"),
    ],
)
def test_a_mistake_is_answered_in_one_sentence(script, sentence, tmp_path, arguments, said):
    result = script("list_envs", *arguments)
    assert result.status == 2
    assert sentence(result.err).startswith(f"error: {said}")
    assert not list(tmp_path.iterdir())


def test_the_help_names_every_option(script):
    result = script("list_envs", "--help")
    assert (result.status, result.err) == (0, "")
    for name in ("family", "preset", "sample", "split", "seed", "output", "imports"):
        assert f"--{name}" in result.out
