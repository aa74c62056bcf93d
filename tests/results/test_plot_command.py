"""`python -m results.plot`: which files it writes, what it says, and what it refuses with exit 2."""

import sys
from pathlib import Path

import pytest

from results import plot
from results.cli import run
from results.plots.catalog import PICTURES

sys.path.insert(0, str(Path(__file__).parent))
from recorded import new_store, search, trial


@pytest.fixture
def recorded(tmp_path, monkeypatch):
    """A folder with a store of one search of two trees and a dense layer."""
    with new_store(tmp_path) as store:
        name = search(store)
        for depth, accuracy in ((2, 0.5), (3, 0.6)):
            trial(store, name, [0.2, accuracy], ffn="fff", **{"ffn.fff.depth": depth, "ffn.fff.trees": 1})
        trial(store, name, [0.2, 0.7], hidden=16)
    monkeypatch.chdir(tmp_path)
    return store.url


@pytest.fixture
def command(recorded, monkeypatch, capfd):
    """Runs the command; gives its exit code, what it said and what it refused with."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["plot", *arguments, "--storage", recorded])
        with pytest.raises(SystemExit) as ended:
            run(plot.app, "python -m results.plot")
        said = capfd.readouterr()
        return ended.value.code, said.out, said.err

    return call


def test_the_list_names_every_picture_and_needs_no_store(command, monkeypatch, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    code, said, _ = command("--list")
    assert code == 0
    assert [name for name in (*PICTURES, "all") if not any(line.startswith(name) for line in said.splitlines())] == []


def test_without_a_kind_the_picture_is_the_one_of_curves_and_parameters(command):
    assert command() == (0, "Picture: toy-1.png\n", "")
    assert Path("toy-1.png").read_bytes()[:4] == b"\x89PNG"


def test_named_pictures_go_to_files_of_their_names_or_to_the_one_that_is_named(command):
    assert command("toy-1", "--kind", "curves", "--kind", "slice")[1] == (
        "Picture: toy-1-curves.png\nPicture: toy-1-slice.png\n"
    )
    assert command("--kind", "macs", "-o", "cost.pdf")[1] == "Picture: cost.pdf\n"
    assert Path("cost.pdf").read_bytes()[:4] == b"%PDF"


def test_all_draws_what_the_search_has_something_for_and_names_the_rest(command):
    code, said, _ = command("toy-1", "--kind", "all", "-o", "pictures", "--key", "ffn.fff.depth")
    assert code == 0
    refused = {line.partition(":")[0].removeprefix("No ") for line in said.splitlines() if line.startswith("No ")}
    assert refused == {"contour", "latency", "timeline", "tree-shapes", "best-so-far", "level-rates"}
    written = {path.name for path in Path("pictures").iterdir()}
    assert written == {f"toy-1-{name}.png" for name in PICTURES if name not in refused}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("--kind paralel", "Unknown picture 'paralel'; did you mean 'parallel'?"),
        ("--kind zzz", f"Unknown picture 'zzz'; known: {', '.join(PICTURES)}."),
        ("-o /proc/x.png", "The place /proc/x.png cannot be used (No such file or directory); name another one."),
        ("--kind curves --kind slice -o /proc/x", "The place /proc/x cannot be used (No such file or directory);"),
        ("--kind macs -o /proc/x.pdf", "The place /proc/x.pdf cannot be used (No such file or directory);"),
        ("toy-2 --kind all", "Unknown search 'toy-2'; did you mean 'toy-1'?"),
        ("--kind slice --key ffn.fff.dept", "Unknown searched key 'ffn.fff.dept'; did you mean 'ffn.fff.depth'?"),
        (
            "--kind curves --key lr",
            "\"--key\" is for pictures of keys (parallel, slice, contour), but got 'lr' for curves.",
        ),
        ("--key lr", '"--key" needs a picture of keys, such as "--kind slice", but got \'lr\' alone.'),
        ("--kind curves --kind slice -o one.png", "Several pictures go to a folder, but got the file one.png"),
        ("--kind curves --kind slice -o arbor.db", "Several pictures go to a folder, but got the file arbor.db"),
        ("--kind all -o no/pictures", "The folder no does not exist"),
        ("--kind curves -o no/such.png", "The folder no does not exist"),
        ("--kind curves -o one.txt", "The picture must be a file that ends in .png"),
        ("--kind curves --leaf-use toy-1.1", '"--leaf-use" is a picture of its own'),
        (
            "--kind tree-shapes",
            "A heat map of depth x trees needs trees of at least two depths and two numbers of trees",
        ),
        (
            "--kind curves --kind timeline",
            "A picture over time needs trials whose start is recorded, but toy-1 has none",
        ),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_one_sentence_and_leaves_no_file(command, arguments, sentence):
    code, said, error = command(*arguments.split())
    assert (code, said) == (2, "")
    assert error.startswith(f"Error: {sentence}")
    assert error.count("\n") == 1
    assert not list(Path().glob("*.png"))
