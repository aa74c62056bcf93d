"""The command of a search: what it keeps of itself, which file it reads again, and what it shows without running."""

import pytest

from search.prepare import command_line


def test_a_command_is_kept_as_one_would_type_it_and_without_a_password():
    words = ["/a/b/search/run.py", "my idea.py", "--storage", "postgresql://me:secret@host/db", "--set", "lr=1e-3"]
    assert (
        command_line(words) == "python -m search.run 'my idea.py' --storage 'postgresql://me:***@host/db' --set lr=1e-3"
    )
    assert command_line(["/usr/bin/pytest", "-q"]) == "pytest -q"


@pytest.mark.slow
def test_a_search_of_a_linked_file_goes_on_by_the_links_name(place):
    (place.folder / "tiny.py").rename(place.folder / "tiny_v2.py")
    (place.folder / "tiny.py").symlink_to("tiny_v2.py")
    place.run("search.run", "tiny.py", "--trials", "1", "--epochs", "1", "--concurrency", "1")
    assert "Going on with tiny-1" in place.run("search.run", "--resume", "tiny-1", "--trials", "2")
    with place.store() as store:
        assert [row.status for row in store.trials("tiny-1")] == ["finished"] * 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("helper", "sentence"),
    [
        ("int", "The space has only 2 different variants that can be trained; all were tried."),
        ("float", "No new variant was found in 30 draws, so the search ended after 2."),
    ],
)
def test_a_search_that_finds_no_more_variants_says_why(place, helper, sentence):
    """A helper draw, of which the variant does not depend, makes the space one that can be walked, or not."""
    tiny = (place.folder / "tiny.py").read_text()
    ends = tiny.index("    return {**suggest_ffn")
    place.write(
        "tiny.py",
        f"""{tiny[:ends]}    scope.{helper}("helper", 1, 3)
    return {{"layout": scope.categorical("layout", ("single", "pair"))}}
""",
    )
    assert sentence in place.run("search.run", "tiny.py", "--trials", "5", "--epochs", "1", "--concurrency", "1")


KIND = """\
from dataclasses import dataclass

from arch_space.ffn.mlp import MLPConfig
from arch_space.registry import FFN


@FFN.register("mine")
@dataclass(frozen=True, kw_only=True, slots=True)
class MineConfig(MLPConfig):
    pass
"""


@pytest.mark.slow
def test_an_experiment_is_shown_as_it_would_run(place):
    place.write("kind.py", KIND)
    tiny = (place.folder / "tiny.py").read_text()
    place.write("tiny.py", tiny.replace('("mlp", "fff")', '("mlp", "mine")'))
    assert "known: " in place.run("search.run", "--show", "tiny.py", code=2)
    shown = place.run("search.run", "--show", "tiny.py", "--variants", "kind.py", "--set", "ffn=mine", "--trials", "9")
    assert "search: 9 trials" in shown
    assert "ffn.mine.hidden" in shown
    assert "ffn.mlp.hidden" not in shown
