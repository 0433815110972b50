"""Meta-train a policy: `metarl train PRESET [--run-dir DIR] [--FIELD VALUE ...]`.

Go on with a run that was stopped: `metarl train --resume DIR [--num-iterations K]`.
On several processes: `torchrun --nproc-per-node W -m metarl train ...`; docs/scaling.md says how.
"""

from __future__ import annotations

import signal
from contextlib import nullcontext

from metarl.backend.distributed import quiet_unless_main
from metarl.cli.main import option
from metarl.cli.training import evaluate_command, resume_command, run_to_train
from metarl.training import commands
from metarl.training.loop import train


def main(arguments: list[str]) -> int:
    with quiet_unless_main():
        run, held_out = run_to_train(arguments, str(__doc__))
    total, command = run.config.num_iterations, commands.command_line("train", arguments)
    if not run.is_new and run.iteration >= total:
        print(f"{run.path} has done its {run.iteration} iterations already; --num-iterations K trains it for longer.")
        return 0
    with nullcontext() if run.is_new else run.locked():
        if run.iteration:
            print(f"Resuming {run.path} after iteration {run.iteration} of {total}.")
        elif not run.is_new:
            print(f"{run.path} has no finished iteration yet; it starts from the beginning.")
        if not run.is_new and option(arguments, "--num-iterations") is not None:
            commands.add(run.path, command)
        stopped_by = train(run, held_out=held_out, command=command)
    done = f"{run.iteration} of {total} iterations"
    print(f"{run.path}: {done}, {run.env_steps:,} environment steps, {run.seconds:.0f} s of training.")
    if stopped_by is None:
        print(f"Next: {evaluate_command(run, arguments)}")
        return 0
    print(f"Stopped by {signal.Signals(stopped_by).name} and saved. Go on with: {resume_command(run, arguments)}")
    return 128 + stopped_by
