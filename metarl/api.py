"""The functions that people call: what the commands do, with what these print as the result."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import envs
from metarl.agent.load import Agent, load
from metarl.training import loop
from metarl.training.config import TrainConfig, with_options
from metarl.training.presets import nearest_preset, preset
from metarl.training.run import Run
from metarl.training.start import new_run

if TYPE_CHECKING:  # these load much, so each function imports its own
    from metarl.diagnosis.probe import DiagnosisConfig
    from metarl.evaluation.evaluate import EvaluationConfig
    from metarl.study import Study
    from metarl.video.record import VideoConfig

Trained = Run | Agent | Path | str
"""A run; or its folder, or anything else that `metarl.load` opens."""
EnvOptions = Mapping[str, Any] | None


def train(
    start: str | TrainConfig | Run,
    run_dir: Path | str | None = None,
    callback: loop.Callback | None = None,
    *,
    env_config: Any = None,
    device: str = "cpu",
    quiet: bool = False,
    eval_every: int = 0,
    eval_every_tasks: int = 10,
    **options: Any,
) -> Run:
    """Meta-train a policy, as `metarl train`.

    Args:
        start: a preset such as `"maml-point"`, a configuration, or a run that `metarl.new_run` or `metarl.resume_run`
            gave; a run has its folder, configuration and device already.
        run_dir: the folder to make, by default `runs/PRESET`.
        callback: called with the run and the metrics of each meta-iteration. Training ends early where it returns True,
            and by an error that it raises, which passes on. Either way the run is saved.
        env_config: the environment's configuration, as `envs.make_config("point", horizon=50)` gives it.
        device: such as `"cpu"` or `"cuda"`.
        quiet: print no progress.
        eval_every: iterations between evaluations on validation tasks, logged as `eval_return_k`; 0 for none.
        eval_every_tasks: how many tasks.
        options: other values than those of `start`, by the names that they have on the command line: `inner_lr=0.05`.

    Returns:
        The run, with `iteration`, `env_steps` and `seconds` of training.

    Raises:
        InputError: for an unknown preset, option or value; when the folder holds another run.
        NonFiniteError: when returns or parameters are not finite any more; the state before is saved.
        KeyboardInterrupt: after Ctrl-C, once the iteration is done and saved. Other signals end the process then.
    """
    if isinstance(start, Run):
        if options or run_dir is not None or env_config is not None:
            raise TypeError("A run has its folder and configuration already; metarl.new_run takes others.")
        run, made = start, None
    else:
        name = start if isinstance(start, str) else nearest_preset(start)
        config = preset(start) if isinstance(start, str) else start
        if "env" in options and "env_preset" not in options:
            options["env_preset"] = envs.family(options["env"]).default
        path = Path("runs") / name if run_dir is None else run_dir
        run = new_run(name, path, with_options(config, options), env_config, device)
        given = {**({} if env_config is None else {"env_config": env_config}), **options}
        call = ", ".join([repr(start), repr(str(path)), *(f"{option}={value!r}" for option, value in given.items())])
        made = f"# in Python: metarl.train({' '.join(call.split())})"
    held_out = None
    if eval_every:
        from metarl.evaluation.held_out import HeldOut

        held_out = HeldOut(run, eval_every, eval_every_tasks)
    stopped_by = loop.train(run, quiet, held_out, made, callback)
    if stopped_by is not None:
        signal.raise_signal(stopped_by)
    return run


def evaluate(
    run: Trained,
    config: EvaluationConfig | None = None,
    *,
    tasks: Path | str | Sequence[Mapping[str, Any]] | None = None,
    output: Path | str | None = None,
    progress: Callable[[float], None] = lambda fraction: None,
    device: str = "cpu",
    env_options: EnvOptions = None,
    **options: Any,
) -> dict[str, Any]:
    """Measure how a run adapts to tasks that it has not seen, as `metarl evaluate`.

    Args:
        tasks: the tasks themselves, such as `[{"goal": [0.3, -0.2]}]`, or the file that `metarl envs` saved; by default
            they are drawn by split and seed.
        output: a JSON file to write. `metarl.compare` reads `evaluation-SPLIT.json` of the run's folder.
        progress: called with the fraction of the tasks that are done.
        device: where a folder is opened.
        env_options: of the environment, other than those of training: `{"horizon": 300}`. The run is opened again from
            its folder.
        options: of `EvaluationConfig`, such as `num_tasks=100, split="validation"`.

    Returns:
        What `metarl evaluate` writes as JSON: `["adaptation"]["mean"]` are the mean returns after 0, 1, ... steps, or
        in the episodes of a trial. See `metarl.evaluation.evaluate.evaluate_run`.

    Raises:
        InputError: for a run without a checkpoint, an unknown split or option, or tasks that do not fit.
    """
    from metarl.backend.files import write_json
    from metarl.evaluation.evaluate import EvaluationConfig, check_evaluation_output, evaluate_run

    run, task = _opened(run, device, env_options), None
    if isinstance(tasks, str | os.PathLike):
        options["tasks"] = Path(tasks)
    elif tasks is not None:
        task = run.env.task_from_dicts(list(tasks))
    config = with_options(config or EvaluationConfig(), options)
    if output is not None:
        check_evaluation_output(Path(output), config, run.env_options)
    result = evaluate_run(run, config, progress, task)
    if output is not None:
        write_json(Path(output), result)
    return result


def record(
    run: Trained,
    output: Path | str | None = None,
    config: VideoConfig | None = None,
    frame: Path | str | None = None,
    *,
    device: str = "cpu",
    env_options: EnvOptions = None,
    **options: Any,
) -> Path:
    """Record a video of adaptation, as `metarl record`.

    Args:
        output: an .mp4 or .gif file, by default `videos/NAME.mp4` by the name of the run's folder.
        frame: a .png file for the end of the first task.
        env_options: of the environment, other than those of training.
        options: of `VideoConfig`, such as `num_tasks=1`.

    Returns:
        The path of the video.
    """
    from metarl.video.record import VideoConfig, record_run

    run = _opened(run, device, env_options)
    path = Path("videos") / f"{run.path.resolve().name}.mp4" if output is None else output
    return record_run(run, path, with_options(config or VideoConfig(), options), frame)


def diagnose(
    run: Trained,
    config: DiagnosisConfig | None = None,
    progress: Callable[[float], None] = lambda fraction: None,
    *,
    device: str = "cpu",
    env_options: EnvOptions = None,
    **options: Any,
) -> dict[str, Any]:
    """Does adaptation help, and if not, why? The findings that `metarl diagnose` prints; writes nothing.

    Args:
        progress: called with the fraction of the findings that are done.
        env_options: of the environment, other than those of training.
        options: of `DiagnosisConfig`, such as `num_tasks=100`.
    """
    from metarl.diagnosis.diagnose import diagnose_run
    from metarl.diagnosis.probe import DiagnosisConfig

    run = _opened(run, device, env_options)
    return diagnose_run(run, with_options(config or DiagnosisConfig(), options), progress)


def compare(runs: Sequence[Run | Path | str], split: str = "test") -> Study:
    """Compare evaluated runs, as `metarl compare`: tables in `Study.sheets`, a report by `Study.write`.

    Args:
        runs: runs or their folders, with `evaluation-SPLIT.json` in each; the others are measured against the first.
        split: which evaluation to compare.
    """
    from metarl.study import compare_runs

    return compare_runs([run.path if isinstance(run, Run) else Path(run) for run in runs], split)


def _opened(run: Trained, device: str, env_options: EnvOptions = None) -> Run:
    """The run of whatever stands for it. Raises `InputError` for one without a checkpoint."""
    run = load(run, device).run if isinstance(run, Path | str) else run
    run = run.run if isinstance(run, Agent) else run
    return Run.open(run.path, str(run.device), options=env_options) if env_options else run
