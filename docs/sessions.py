"""The pages' examples, run for real: `python docs/sessions.py` runs them and writes what came out.

All pages share one session, a folder that starts empty, and run in the order of `PAGES`, so that a how-to can use
what the tutorial trained. Four kinds of fenced blocks are examples:

- `console`: each line after "$ " is a command for bash, followed by what it printed (stderr, too). A command may go on
  over lines that end with a backslash. It must end with 0, or with the N of `{ .console exit=N }`.
- `{ .console .varies }`: the same where luck of the training decides what is printed: a new run needs to share
  most of the words, not every line.
- `{ .console .long }`: left out by the quick run, as training takes its time; nothing quick may need it.
- any `title="NAME"`: a file of that name.
- `python` without a title: a script, run with this interpreter. A `text` block right below it is what it prints.

`tests/docs/test_sessions.py` runs them again and compares, numbers aside (`differences`).
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
PAGES = (
    "tutorial.md",
    "how-to/variant.md",
    "how-to/data.md",
    "how-to/experiment.md",
    "how-to/control.md",
    "how-to/price.md",
    "how-to/matched.md",
    "how-to/tune-lr.md",
    "how-to/what-if.md",
    "how-to/export.md",
    "how-to/gpus.md",
    "explanation/asha.md",
    "explanation/honest.md",
    "explanation/fff.md",
    "explanation/survive.md",
)
"""Pages with examples, in the order in which they are run. `how-to/postgresql.md` needs a server and has its own test."""
WIDTH = 100
PATIENCE_SECONDS = 280
SHARED_WORDS = 0.8
"""Of a recorded output that varies, the part of the words which another run must print, too."""

_FENCE = re.compile(r"^```(?P<info>[^\n`]*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
_COMMAND = re.compile(r"^\$ (?:.*\\\n)*.*$", re.MULTILINE)
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|.*\r(?!\n)")
_HASH = re.compile(r"\b(?=[0-9a-f]*\d)(?=[0-9a-f]*[a-f])[0-9a-f]{7,64}\b")
_ONCE = re.compile(r"(http://127\.0\.0\.1:\d+/)[\w-]{20,}")
"""The dashboard's link, which logs one browser in, once."""
_PROGRESS = re.compile(r"\[\d+:\d\d\] ")
_NUMBER = re.compile(r"\d[\d,.]*(?:e[-+]?\d+)?")


@dataclass(frozen=True)
class Example:
    """One fenced block of a page that is run."""

    page: str
    info: str
    body: str
    start: int
    """Where the body begins, and where it ends, in the page's text."""
    end: int

    @property
    def varies(self) -> bool:
        return ".varies" in self.info

    @property
    def long(self) -> bool:
        return ".long" in self.info

    @property
    def exit_code(self) -> int:
        found = re.search(r"exit=(\d+)", self.info)
        return int(found[1]) if found else 0

    @property
    def title(self) -> str | None:
        found = re.search(r'title="([^"]+)"', self.info)
        return found[1] if found else None


def examples(page: str) -> Iterator[Example]:
    """The blocks of a page that are run or, as `text`, printed by the script above them."""
    text = (DOCS / page).read_text(encoding="utf-8")
    end_of_script = -1
    for found in _FENCE.finditer(text):
        info = found["info"].strip()
        kind = re.sub(r"^\{ *\.", "", info).split(" ")[0]
        example = Example(page, info, found["body"], found.start("body"), found.end("body"))
        printed = kind == "text" and end_of_script >= 0 and not text[end_of_script : found.start()].strip()
        end_of_script = found.end() if kind == "python" and example.title is None else -1
        if kind in ("console", "python") or example.title is not None or printed:
            yield example


class Session:
    """A folder in which examples run one after another, as somebody types them.

    Args:
        environment: variables beside this process's own, such as the URL of a database.
    """

    def __init__(self, folder: Path, environment: dict[str, str] | None = None) -> None:
        self.folder = folder
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        plain = {"COLUMNS": str(WIDTH), "TERM": "dumb", "NO_COLOR": "1", "PYTHONUNBUFFERED": "1"}
        own = {name: value for name, value in os.environ.items() if name != "ARBOR_DATA"}
        self.environment = {**own, "PYTHONPATH": str(ROOT), "PATH": path, **plain}
        self.environment.update({"OMP_NUM_THREADS": "1", **(environment or {})})
        self.shown = {value: f"${name}" for name, value in (environment or {}).items()}
        self.shown |= {str(folder): "/home/you/arbor", str(ROOT): "/home/you/arbor"}

    def run(self, command: list[str], expected: int, what: str) -> str:
        """What a command printed. Raises RuntimeError where it ends with another code than expected."""
        process = subprocess.Popen(
            command,
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            output, _ = process.communicate(timeout=PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # what it started in the background, too
            raise
        if process.returncode != expected:
            raise RuntimeError(f"{what} ended with {process.returncode}, not {expected}:\n{output}")
        printed = _ONCE.sub(r"\1...", _ESCAPES.sub("", output))
        for here, shown in self.shown.items():
            printed = printed.replace(here, shown)
        lines = [line.rstrip() for line in printed.strip("\n").splitlines()]
        while lines and not lines[0]:
            lines.pop(0)
        return "".join(f"{line}\n" for line in _shortened(lines))


def _shortened(lines: list[str]) -> list[str]:
    """Of the lines that tell a search's progress, the first six and the last one."""
    progress = [number for number, line in enumerate(lines) if _PROGRESS.match(line)]
    cut = progress[6:-1]
    return (
        ["..." if number == cut[0] else line for number, line in enumerate(lines) if number not in cut[1:]]
        if cut
        else lines
    )


def run_page(page: str, session: Session, *, long: bool = True) -> list[tuple[Example, str]]:
    """Run the examples of a page, without the long ones if told; each with the body that it now has."""
    ran: list[tuple[Example, str]] = []
    printed = ""
    for example in examples(page):
        if example.long and not long:
            continue
        if "console" in example.info:
            ran.append((example, _console(example, session)))
        elif example.title is not None:
            path = session.folder / example.title
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(example.body, encoding="utf-8")
        elif example.info == "text":
            ran.append((example, printed))
        else:
            printed = session.run([sys.executable, "-c", example.body], 0, f"{page}: a script")
    return ran


def _console(example: Example, session: Session) -> str:
    said = ""
    for command in _COMMAND.findall(example.body):
        what = f"{example.page}: {command}"
        said += f"{command}\n{session.run(['bash', '-c', command[2:]], example.exit_code, what)}"
    return said


def without_commands(example: Example) -> str:
    """What a `console` block shows as printed."""
    return _COMMAND.sub("", example.body)


def differences(example: Example, ran: str) -> str:
    """What a new run of an example shows against its page, numbers aside; empty where nothing does."""
    recorded, new = _masked(example.body), _masked(ran)
    if not example.varies:
        lost = [line for line in recorded if line not in new]
        come = [line for line in new if line not in recorded]
        return "".join([*(f"- {line}\n" for line in lost), *(f"+ {line}\n" for line in come)])
    words = [set(re.findall(r"[A-Za-z_]{3,}", "\n".join(lines))) for lines in (recorded, new)]
    shared = len(words[0] & words[1]) / max(1, len(words[0]))
    return "" if shared >= SHARED_WORDS else f"only {shared:.0%} of the words; lost: {sorted(words[0] - words[1])}\n"


def _masked(text: str) -> list[str]:
    """Lines without numbers, hashes, the widths of columns, and repetitions."""
    lines = []
    for line in text.splitlines():
        masked = _NUMBER.sub("#", _HASH.sub("#", line))
        masked = " ".join(re.sub(r"[─━═-]{2,}", "─", masked).split())
        if masked and masked not in lines:
            lines.append(masked)
    return lines


def write(page: str, ran: list[tuple[Example, str]]) -> None:
    """Put what came out into the page."""
    path = DOCS / page
    text = path.read_text(encoding="utf-8")
    for example, body in reversed(ran):
        if text[example.start : example.end] != example.body:
            raise RuntimeError(f"{page} was edited while its examples ran; run them again.")
        text = text[: example.start] + body + text[example.end :]
    path.write_text(text, encoding="utf-8")


def main(
    page: Annotated[
        list[str] | None, typer.Argument(help="Pages to write, such as how-to/price.md. Default: all.")
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(help="Keep the session here, and where it is there already, run only the named pages."),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Leave out the long ones.")] = False,
) -> None:
    """Run the pages' examples and write what came out into the pages."""
    with tempfile.TemporaryDirectory(prefix="arbor-docs-") as new:
        goes_on = folder is not None and folder.exists()
        place = folder.resolve() if folder is not None else Path(new)
        place.mkdir(parents=True, exist_ok=True)
        session = Session(place)
        for name in page if page and goes_on else PAGES:
            ran = run_page(name, session, long=not quick)
            if not page or name in page:
                write(name, ran)
                _keep_pictures(name, place)
            typer.echo(f"{name}: {len(ran)} outputs")


def _keep_pictures(page: str, folder: Path) -> None:
    """A picture that a page shows and its commands drew, beside the page's other ones."""
    for name in re.findall(r"pictures/([\w-]+\.png)", (DOCS / page).read_text(encoding="utf-8")):
        if (folder / name).exists():
            shutil.copy(folder / name, DOCS / "pictures" / name)


if __name__ == "__main__":
    typer.run(main)
