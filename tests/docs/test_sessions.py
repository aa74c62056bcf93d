"""What the documentation shows was printed by its commands: they are run again, one page after the other."""

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
POSTGRESQL = "how-to/postgresql.md"


def load() -> ModuleType:
    """docs/sessions.py, which belongs to no package."""
    spec = importlib.util.spec_from_file_location("docs_sessions", ROOT / "docs" / "sessions.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


sessions = load()


def shown(page: str, session: object, *, long: bool) -> list[str]:
    """What differs between a page and a new run of its examples."""
    ran = sessions.run_page(page, session, long=long)
    found = [(example, sessions.differences(example, body)) for example, body in ran]
    return [f"{page}, {example.body.splitlines()[:1]}:\n{text}" for example, text in found if text]


def test_every_page_with_commands_is_run() -> None:
    docs = ROOT / "docs"
    with_console = {str(path.relative_to(docs)) for path in docs.rglob("*.md") if "console" in path.read_text("utf-8")}
    made = {"reference/commands.md", "reference/experiments.md"}
    assert with_console - made <= {*sessions.PAGES, POSTGRESQL}


def test_every_block_of_commands_shows_what_they_printed() -> None:
    for page in (*sessions.PAGES, POSTGRESQL):
        for example in sessions.examples(page):
            printed = sessions.without_commands(example) if "console" in example.info else example.body
            assert printed.strip(), f"{page}: no output in {example.body!r}; run python docs/sessions.py {page}"


def test_another_output_is_noticed_and_other_numbers_are_not() -> None:
    example = sessions.Example("page", "console", "$ x\nrank 1  val 92.74 %  ab12cd34ef\n────\n", 0, 0)
    assert not sessions.differences(example, "$ x\nrank 2 val 9.1 % 99aa88bb77\n──\n")
    assert "- rank" in sessions.differences(example, "$ x\nrank 1 accuracy 92.74 %\n──\n")
    varies = sessions.Example("page", "{ .console .varies }", "$ x\nonly some words are the same here\n", 0, 0)
    assert not sessions.differences(varies, "$ x\nthe same words only: some are here, fewer\n")
    assert "lost: ['are', 'here', 'only'" in sessions.differences(varies, "$ x\nanother text\n")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_command_of_the_tutorial_ends_as_it_says(tmp_path: Path) -> None:
    """What they print is compared by the long form: two trials at once finish in an order that no seed fixes."""
    session = sessions.Session(tmp_path)
    ran = sessions.run_page("tutorial.md", session, long=False)
    assert all(body.strip() for _, body in ran)
    assert len(ran) >= 5


@pytest.mark.long
@pytest.mark.timeout(600)
def test_every_command_of_the_pages_prints_what_they_show(tmp_path: Path) -> None:
    session = sessions.Session(tmp_path)
    assert [text for page in sessions.PAGES for text in shown(page, session, long=False)] == []


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_every_command_of_the_pages_the_long_ones_too_prints_what_they_show(tmp_path: Path) -> None:
    session = sessions.Session(tmp_path)
    assert [text for page in sessions.PAGES for text in shown(page, session, long=True)] == []


@pytest.mark.slow
def test_every_command_about_postgresql_prints_what_the_page_shows(tmp_path: Path, postgres: str) -> None:
    """ARBOR_DOCS=write puts what came out into the page."""
    session = sessions.Session(tmp_path, {"STORAGE": postgres})
    if os.environ.get("ARBOR_DOCS") == "write":
        sessions.write(POSTGRESQL, sessions.run_page(POSTGRESQL, session))
    else:
        assert shown(POSTGRESQL, session, long=False) == []
