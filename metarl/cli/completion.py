"""Completion of `metarl` in bash and zsh: verbs, presets, options and their choices.

For bash, and for zsh with another name at the end:

    metarl completion bash > ~/.local/share/bash-completion/completions/metarl
    metarl completion zsh > ~/.metarl-completion && echo 'source ~/.metarl-completion' >> ~/.zshrc
"""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import tyro

import envs
from metarl.cli.training import Resume, arguments_of
from metarl.cli.verbs import VERBS
from metarl.training.presets import PRESETS, preset, preset_names

BASH = """_metarl() {{
  local cur=${{COMP_WORDS[COMP_CWORD]}} verb=${{COMP_WORDS[1]}} words=
  if [ "$COMP_CWORD" -eq 1 ]; then words={verbs}; else
    case "$verb ${{COMP_WORDS[COMP_CWORD-1]}}" in
{choices}
      *) case "$verb" in
{options}
      esac;;
    esac
  fi
  COMPREPLY=($(compgen -W "$words" -- "$cur"))
}}
complete -o default -F _metarl metarl"""
ZSH = f"autoload -U +X compinit && compinit\nautoload -U +X bashcompinit && bashcompinit\n{BASH}"


@dataclass(frozen=True)
class Arguments:
    """Print the script by which a shell completes `metarl`."""

    shell: Annotated[Literal["bash", "zsh"], tyro.conf.Positional]
    """Which shell."""


def main(arguments: list[str]) -> None:
    args = tyro.cli(Arguments, prog="metarl completion", description=str(__doc__), args=arguments)
    print(script(args.shell))


def script(shell: str) -> str:
    """What a shell reads to complete `metarl`. For training it knows the options of the first preset."""
    options, choices = [], []
    for verb in VERBS:
        words = preset_names() if verb == "train" else []
        for name, values in _options(verb):
            words.append(name)
            if values:
                choices.append(_case(f"{verb} {name}", values))
        options.append(_case(verb, words))
    text = {"bash": BASH, "zsh": ZSH}[shell]
    return text.format(verbs=shlex.quote(" ".join(VERBS)), choices="\n".join(choices), options="\n".join(options))


def _case(pattern: str, words: list[str]) -> str:
    return f"      {shlex.quote(pattern)}) words={shlex.quote(' '.join(words))};;"


def _options(verb: str) -> Iterator[tuple[str, list[str]]]:
    """The options of a verb, and what each may be where these are a few words."""
    if verb == "train":
        usual = preset(PRESETS[0])
        yield from _fields(envs.make_config(usual.env, usual.env_preset), "env.")
        yield from _fields(arguments_of(PRESETS[0], usual, None))
        yield from _fields(Resume)
    elif (arguments := getattr(import_module(VERBS[verb].module), "Arguments", None)) is not None:
        yield from _fields(arguments)


def _fields(held: Any, prefix: str = "") -> Iterator[tuple[str, list[str]]]:
    """The options of a dataclass, or of an instance that says of which kinds its parts are."""
    hints = get_type_hints(held if isinstance(held, type) else type(held), include_extras=True)
    for field in dataclasses.fields(held):
        default = field.default_factory() if callable(field.default_factory) else field.default
        value = getattr(held, field.name, default)
        hint = hints[field.name]
        if dataclasses.is_dataclass(value):
            yield from _fields(value, prefix)
        elif tyro.conf.Positional not in getattr(hint, "__metadata__", ()):
            name = f"{prefix}{field.name}".replace("_", "-")
            yield f"--{name}", [str(word) for word in get_args(hint)] if get_origin(hint) is Literal else []
            if hint is bool:
                yield f"--{prefix}no-{field.name}".replace("_", "-"), []
