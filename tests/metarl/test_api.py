"""The functions that people call, and that they do what the commands do."""

from __future__ import annotations

import json
import os
import signal
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import envs
import metarl
from envs.errors import InputError
from metarl.training.presets import preset
from metarl.training.run import Run

SMALL = {"num_iterations": 2, "meta_batch_size": 2, "num_envs": 3, "eval_num_envs": 4, "quiet": True}
SHORT = envs.make_config("point", horizon=5)


def train(path, start="maml-point", **options):
    return metarl.train(start, path, **{"env_config": SHORT, **SMALL, **options})


def logged(run):
    lines = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if "seconds" not in name} for line in lines]


class TestTrain:
    def test_it_is_the_command(self, tmp_path, script):
        run = train(tmp_path / "called", inner_lr=0.05, hidden_sizes=(4,))
        small = ["--num-iterations=2", "--meta-batch-size=2", "--num-envs=3", "--eval-num-envs=4", "--hidden-sizes=4"]
        more = ["--inner-lr=0.05", "--env.horizon=5", "--run-dir", tmp_path / "command"]
        assert script("train", "maml-point", *small, *more).status == 0
        assert logged(run) == logged(Run.open(tmp_path / "command")) and len(logged(run)) == 2
        (line,) = (run.path / "command.txt").read_text().splitlines()
        assert line.startswith("# in Python: metarl.train('maml-point', ") and "inner_lr=0.05" in line
        assert run.algorithm.params.equal(Run.open(tmp_path / "command").algorithm.params)

    def test_a_configuration_names_the_method_that_it_is_nearest_to(self, tmp_path):
        usual = preset("promp-point")
        config = replace(usual, num_envs=5, algorithm=replace(usual.algorithm, inner_lr=0.05))
        assert train(tmp_path / "run", config).preset == "promp-point"

    def test_another_family_brings_its_preset(self, tmp_path):
        run = metarl.train("rl2-bandit", tmp_path / "run", env="gaussian-bandit", hidden_size=4, **SMALL)
        assert run.config.env_preset == envs.family("gaussian-bandit").default

    def test_the_callback_sees_what_is_logged_and_may_end_training(self, tmp_path):
        seen = []

        def callback(run, metrics):
            seen.append((run.iteration, metrics["return_1"]))
            return run.iteration == 2

        run = train(tmp_path / "run", num_iterations=5, callback=callback)
        assert run.iteration == Run.open(run.path).iteration == 2
        assert seen == [(line["iteration"], line["return_1"]) for line in logged(run)]

    def test_an_error_of_the_callback_passes_on_and_the_run_is_saved(self, tmp_path):
        class Pruned(Exception):
            pass

        def callback(run, metrics):
            raise Pruned

        with pytest.raises(Pruned):
            train(tmp_path / "run", callback=callback)
        run = metarl.resume_run(tmp_path / "run")
        assert run.iteration == 1 and metarl.train(run, quiet=True).iteration == 2

    def test_validation_on_the_way(self, tmp_path):
        seen = []
        train(tmp_path / "run", eval_every=2, eval_every_tasks=2, callback=lambda run, metrics: seen.append(metrics))
        assert ["eval_return_0" in metrics for metrics in seen] == [False, True]

    def test_ctrl_c_saves_and_ends_the_loop_around_it(self, tmp_path):
        def interrupt(run, metrics):
            os.kill(os.getpid(), signal.SIGINT)

        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "run", callback=interrupt)
        assert Run.open(tmp_path / "run").iteration == 1

    def test_it_works_in_a_thread(self, tmp_path):
        thread = threading.Thread(target=train, args=(tmp_path / "run",))
        thread.start()
        thread.join()
        assert Run.open(tmp_path / "run").iteration == 2

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"inner_lrs": 0.1}, "Did you mean 'inner_lr'?"),
            ({"inner_lr": -1.0}, "inner_lr must be"),
            ({"num_envs": "many"}, "num_envs"),
            ({"start": "maml-pont"}, "Did you mean 'maml-point'?"),
            ({"env": "gridwrld"}, "Did you mean 'gridworld'?"),
        ],
    )
    def test_bad_input_is_named_and_leaves_nothing(self, tmp_path, sentence, options, words):
        with pytest.raises(InputError) as error:
            train(tmp_path / "run", **options)
        assert words in sentence(error) and not list(tmp_path.iterdir())

    def test_a_run_has_its_configuration_already(self, tmp_path):
        run = metarl.new_run("maml-point", tmp_path / "run")
        with pytest.raises(TypeError):
            metarl.train(run, inner_lr=0.1)


class TestTrained:
    def test_an_evaluation_is_that_of_the_command(self, trained, script):
        result = metarl.evaluate(trained, num_tasks=4, split="ood")
        assert script("evaluate", trained, "--num-tasks", 4, "--split", "ood").status == 0
        written = json.loads((trained / "evaluation-ood.json").read_text())
        assert written.pop("command").startswith("metarl evaluate")
        assert json.loads(json.dumps(result)) == written
        for opened in (str(trained), Run.open(trained), metarl.load(trained)):
            assert metarl.evaluate(opened, num_tasks=4, split="ood") == result

    def test_tasks_may_be_given(self, trained, tmp_path):
        tasks = [{"goal": [0.3, -0.2]}, {"goal": [0.0, 0.1]}]
        result = metarl.evaluate(trained, tasks=tasks)
        assert result["num_tasks"] == 2 and result["split"] == "given tasks"
        env = Run.open(trained).env
        file = envs.save_tasks(tmp_path / "tasks.json", "point", None, env, env.task_from_dicts(tasks))
        from_file = metarl.evaluate(trained, tasks=file)
        assert from_file["tasks"] == result["tasks"]
        np.testing.assert_array_equal(from_file["per_task"], result["per_task"])
        with pytest.raises(InputError, match="goal"):
            metarl.evaluate(trained, tasks=[{"gaol": [0.3, -0.2]}])

    def test_evaluations_that_are_written_are_compared(self, trained, tmp_path):
        metarl.evaluate(trained, num_tasks=4, output=trained / "evaluation-test.json")
        study = metarl.compare([trained])
        assert metarl.compare([Run.open(trained)]).notes == study.notes and len(study.comparisons) == 1
        assert all(path.exists() for path in study.write(tmp_path / "study.md"))

    def test_other_options_of_the_environment(self, trained, tmp_path):
        file = trained / "evaluation-test-horizon-9.json"
        small = {"num_tasks": 3, "num_steps": 1, "env_options": {"horizon": 9}}
        result = metarl.evaluate(trained, output=file, **small)
        for opened in (Run.open(trained), metarl.load(trained)):
            assert metarl.evaluate(opened, **small) == result and opened.env.horizon == 5
        assert result["env_options"] == {"horizon": 9}
        (comparison,) = metarl.compare([trained], "test-horizon-9").comparisons
        assert comparison.methods[0].run.env_config["horizon"] == 9
        with pytest.raises(InputError, match="Did you mean 'horizon'"):
            metarl.diagnose(trained, env_options={"horizons": 9})
        with pytest.raises(InputError, match="other options"):
            metarl.evaluate(trained, output=file, num_tasks=3)

    def test_the_others(self, trained, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        assert metarl.diagnose(trained, num_tasks=8)["verdict"]
        made = metarl.record(trained, num_tasks=1, num_steps=1)
        assert made == Path("videos/trained.mp4") and made.stat().st_size > 1000
        with pytest.raises(InputError, match="Did you mean 'num_tasks'"):
            metarl.record(trained, num_task=1)
