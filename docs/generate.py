"""The pages that nobody writes: every command's options, from its typer app, and every experiment's question.

`python docs/generate.py [FOLDER]` writes them, by default into docs/reference; git ignores them, `make docs` makes them.
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from search import catalog

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
PACKAGES = ("search", "results", "trainer", "arch_space", "benchmarks")
_PROGRAM = re.compile(r'(?:run\(app, |prog_name=)"(python -m [\w.]+)"')


def commands() -> Iterator[tuple[str, typer.Typer]]:
    """What is typed, and its app, of every module that ends by running one."""
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            found = _PROGRAM.search(path.read_text(encoding="utf-8"))
            if found:
                module = importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
                yield found[1], module.app


def command_page() -> str:
    """All commands, with what `--help` knows of each."""
    parts = [
        "# Commands\n",
        "Each command prints this with `--help`, too; the page is made from the commands when the site is built.\n",
        "Exit codes: 0 when the command did its work, 1 when a check says no, 2 for bad input, 130 after Ctrl-C.\n",
    ]
    for program, app in commands():
        top = typer.main.get_command(app)
        parts.append(f"## {program.removeprefix('python -m ')}\n")
        subcommands = getattr(top, "commands", None)
        if subcommands is None:
            parts.append(_described(program, top))
            continue
        parts.append(f"{top.help}\n")
        for name, command in subcommands.items():
            parts.append(f"### {program.removeprefix('python -m ')} {name}\n")
            parts.append(_described(f"{program} {name}", command))
    return "\n".join(parts)


def _described(program: str, command: Any) -> str:
    context = typer.Context(command, info_name=program)
    usage = " ".join(command.get_usage(context).removeprefix("Usage:").split())
    records = [each.get_help_record(context) for each in command.get_params(context) if each.name != "help"]
    rows = [_row(*record) for record in records if record is not None]
    table = ["| spelled | meaning |", "| --- | --- |", *rows] if rows else []
    return "\n".join([f"```text\n{usage}\n```\n", _help(command.help or ""), "", *table, ""])


def _row(spelling: str, meaning: str) -> str:
    return f"| <code>{_literal(spelling)}</code> | {_literal(' '.join(meaning.split()))} |"


def _literal(text: str) -> str:
    """Text that Markdown leaves as it is, inside a table, too."""
    return re.sub(r"[&<>|*_`\\\[\]]", lambda found: f"&#{ord(found[0])};", text)


def _help(text: str) -> str:
    """The help as Markdown: examples become one block."""
    before, mark, after = inspect.cleandoc(text.replace("\b", "")).partition("Examples:")
    shown = [before.strip(), ""]
    if mark:
        lines = [line.strip() for line in after.splitlines() if line.strip()]
        shown += ["```text", *(lines), "```"]
    return "\n".join(shown)


def experiment_page() -> str:
    """Every experiment that `--list` names: its question, and its file."""
    parts = [
        "# Experiments that are there\n",
        "`python -m search.run NAME` runs one, `--show NAME` prints its space and budget, `--preview` its price.\n",
        "Copy a file of `experiments/` to begin one of your own.\n",
    ]
    for name in catalog.names():
        question = catalog.find(name).question
        source = (ROOT / "experiments" / f"{name}.py").read_text(encoding="utf-8")
        fence = f'??? note "experiments/{name}.py"\n\n    ```python\n' + _indented(source) + "    ```\n"
        parts.append(f"## {name}\n\n{question}\n\n{fence}")
    return "\n".join(parts)


def _indented(text: str) -> str:
    return "".join(f"    {line}".rstrip() + "\n" for line in text.splitlines())


def main(folder: Path = DOCS / "reference") -> None:
    """Write both pages into a folder."""
    (folder / "commands.md").write_text(command_page(), encoding="utf-8")
    (folder / "experiments.md").write_text(experiment_page(), encoding="utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
