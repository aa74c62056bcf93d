"""`results.show` and `results.plot` as commands, in processes of their own."""

import io
import json
import platform
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

from results import plot, show
from results.errors import InputError
from results.export import as_plain
from results.frames import load
from results.screen import print_table
from results.table import variants

sys.path.insert(0, str(Path(__file__).parent))
from recorded import new_store, search, trial

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A store with a comparison and, later, a search under ASHA whose note tries to be more than text."""
    path = tmp_path_factory.mktemp("store")
    with new_store(path) as store:
        comparison = search(store, grid=True, seeds=(0, 1, 2))
        for hidden in (8, 16):
            for seed in range(3):
                trial(
                    store, comparison, [0.4, 0.5 + seed / 100 + hidden / 1000], seed=seed, hidden=hidden, test_acc=0.5
                )
        asha = search(store, rungs=(1, 2))
        trial(store, asha, [0.3, 0.5, 0.6], ffn="fff")
        trial(store, asha, [0.3, 0.55, 0.62], layout="pair")
        trial(store, asha, [0.2], status="stopped", hidden=9)
        trial(store, asha, [], status="failed", hidden=10)
        store.update_search(asha, status="interrupted", notes="=cmd()\x1b[2J[red]x[/red]", tags=["a"])
    return path


def command(module, *arguments, folder):
    return subprocess.run(
        [sys.executable, "-m", module, *arguments, "--storage", f"sqlite:///{folder}/arbor.db"],
        capture_output=True, text=True, cwd=REPOSITORY, timeout=60,
        env={"PATH": "/usr/bin:/bin", "COLUMNS": "140", "PYTHONPATH": str(REPOSITORY)},
    )  # fmt: skip


def test_the_latest_search_is_shown_with_the_way_to_go_on_and_no_control_characters(folder):
    done = command("results.show", folder=folder)
    assert done.returncode == 0, done.stderr
    assert "toy-2: Which is best?" in done.stdout
    assert "python -m search.run --resume toy-2" in done.stdout
    assert "\x1b" not in done.stdout
    assert "[red]x[/red]" in done.stdout
    assert "failed" in done.stdout


def test_json_is_the_json_alone(folder):
    answer = json.loads(command("results.show", "toy-1", "--json", folder=folder).stdout)
    assert answer["search"] == "toy-1"
    first = answer["variants"][0]
    assert (first["rank"], first["ffn.mlp.hidden"], first["seeds"]) == (1, 16, 3)
    assert first["val_acc"] == pytest.approx(0.526)
    assert len(first["trials"]) == 3


def test_csv_and_parquet_hold_every_variant(folder, tmp_path):
    for option, read in (("--csv", pd.read_csv), ("--parquet", pd.read_parquet)):
        path = tmp_path / f"table{option}"
        done = command("results.show", "toy-2", option, str(path), folder=folder)
        assert done.returncode == 0, done.stderr
        assert len(read(path)) == 4


def test_latex_is_a_booktabs_table_with_what_may_be_claimed_above_it(folder, tmp_path):
    path = tmp_path / "table.tex"
    assert inside(show.app, "toy-1", "--latex", str(path), folder=folder).exit_code == 0
    text = path.read_text()
    lines = text.splitlines()
    rows = [line for line in lines if line.endswith(r"\\")]
    assert len(rows) == 3
    assert all(row.count("&") == rows[0].count("&") for row in rows)
    assert rows[1].startswith(r"1--2 & \textbf{hidden=16} & 3/3 & 52.60 $\pm$ 2.48 & 50.00")
    assert [lines.count(rule) for rule in (r"\toprule", r"\midrule", r"\bottomrule")] == [1, 1, 1]
    assert any(line.startswith("% Between seeds") for line in lines)
    assert r"\usepackage{booktabs}" in text


def test_latex_and_markdown_keep_text_that_reads_like_markup_as_text(tmp_path):
    with new_store(tmp_path) as store:
        name = search(store)
        trial(store, name, [0.5], ffn="a_b&c%$#{}~^\\|<b>*x*")
        trial(store, name, [0.6])
    for option in ("--latex", "--markdown"):
        assert inside(show.app, option, str(tmp_path / option), folder=tmp_path).exit_code == 0
    assert (
        r"a\_b\&c\%\$\#\{\}\textasciitilde{}\textasciicircum{}\textbackslash{}|<b>*x*"
        in (tmp_path / "--latex").read_text()
    )
    assert r"a\_b&c%$#{}~^\\\|\<b\>\*x\*" in (tmp_path / "--markdown").read_text()


def test_markdown_is_a_pipe_table_and_the_notes(folder, tmp_path):
    path = tmp_path / "table.md"
    assert inside(show.app, "toy-1", "--markdown", str(path), folder=folder).exit_code == 0
    table = [line for line in path.read_text().splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in table}) == 1
    assert len(table) == 4
    assert "52.60 ± 2.48" in table[2]
    assert "- Screening" in path.read_text()


@pytest.mark.parametrize(("option", "start"), [("--markdown", "| rank |"), ("--csv", "search,"), ("--latex", "% ")])
def test_a_dash_prints_the_text_of_a_table_alone_and_makes_no_file(folder, tmp_path, option, start):
    done = inside(show.app, "toy-1", option, "-", folder=folder)
    assert done.exit_code == 0
    inside(show.app, "toy-1", option, str(tmp_path / "table"), folder=folder)
    assert done.stdout == (tmp_path / "table").read_text(encoding="utf-8")
    assert start in done.stdout
    assert not (folder / "-").exists()


@pytest.mark.parametrize("option", ["--csv", "--latex", "--markdown", "--parquet"])
def test_a_file_that_exists_is_written_over_only_by_force_and_then_no_other_is_written_either(folder, tmp_path, option):
    mine, other = tmp_path / "README.md", tmp_path / "other.csv"
    mine.write_text("my own words")
    refused = inside(show.app, "toy-1", "--csv", str(other), option, str(mine), folder=folder).exception
    if option == "--csv":  # the last one counts
        refused = inside(show.app, "toy-1", "--latex", str(other), option, str(mine), folder=folder).exception
    assert isinstance(refused, InputError)
    assert str(refused) == f"The file {mine} exists, so it is not written over; name another, or say --force."
    assert mine.read_text() == "my own words"
    assert not other.exists()
    assert inside(show.app, "toy-1", option, str(mine), "--force", folder=folder).exit_code == 0
    assert mine.read_bytes() != b"my own words"


def test_a_device_is_no_file_that_would_be_lost(folder):
    assert inside(show.app, "toy-1", "--csv", "/dev/null", folder=folder).exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["toy-2"], "In brackets: the value of a trial that has not run to its end, at an earlier epoch."),
        (["toy-1"], None),
        (["toy-2", "--csv", "-"], None),
    ],
)
def test_what_stands_in_brackets_is_explained_where_something_does(folder, arguments, said):
    output = " ".join(inside(show.app, *arguments, folder=folder).output.split())
    assert ("In brackets:" in output) == (said is not None)
    assert said is None or said in output


def test_the_value_of_one_seed_while_others_are_missing_is_explained(tmp_path):
    with new_store(tmp_path) as store:
        name = search(store, grid=True, seeds=(0, 1))
        trial(store, name, [0.5], seed=0)
        one = " ".join(inside(show.app, name, folder=tmp_path).output.split())
        trial(store, name, [0.5], seed=0, hidden=16, status="running")
        both = " ".join(inside(show.app, name, folder=tmp_path).output.split())
    assert "In brackets: the value of one seed while others are missing." in one
    assert "at an earlier epoch, or of one seed while others are missing." in both


def test_several_searches_stand_in_one_table_and_the_rows_say_which(folder):
    answer = json.loads(inside(show.app, "toy-1", "toy-2", "--json", folder=folder).stdout)
    assert answer["searches"] == ["toy-1", "toy-2"]
    assert {row["search"] for row in answer["variants"]} == {"toy-1", "toy-2"}
    assert len(answer["variants"]) == 6


def test_searches_are_picked_by_tag_and_rows_by_kind(folder):
    answer = json.loads(inside(show.app, "--tag", "a", "--kind", "fff", "--json", folder=folder).stdout)
    assert answer["search"] == "toy-2"
    assert [row["ffn"] for row in answer["variants"]] == ["fff"]
    assert (
        sum(
            "Which is best?" in line
            for line in inside(show.app, "--list", "--tag", "a", folder=folder).stdout.split("\n")
        )
        == 1
    )


@pytest.mark.parametrize("columns", [80, 100, 120])
def test_no_line_of_a_table_is_wider_than_the_screen(folder, columns):
    screen = io.StringIO()
    frames = load(f"sqlite:///{folder}/arbor.db")
    for names in (["toy-1"], ["toy-2"], ["toy-1", "toy-2"]):
        print_table(frames, variants(frames, names), Console(width=columns, file=screen))
    lines = [line.rstrip() for line in screen.getvalue().splitlines()]
    assert sum(line.endswith(("finished", "stopped", "failed")) for line in lines) == 12  # no status is cut
    assert (
        max(len(line) for line in lines if not line.startswith("interrupted")) <= columns
    )  # a command is never broken


def inside(app, *arguments, folder):
    """The command in this process: what it prints, or the refusal that `results.cli` turns into a sentence and 2."""
    return CliRunner().invoke(app, [*arguments, "--storage", f"sqlite:///{folder}/arbor.db"])


def test_json_keeps_the_stopped_variants_that_the_screen_hides(tmp_path):
    with new_store(tmp_path) as store:
        name = search(store, rungs=(1,))
        for hidden in range(1, 10):
            trial(store, name, [hidden / 100], status="stopped", hidden=hidden)
    assert len(json.loads(inside(show.app, "--json", folder=tmp_path).stdout)["variants"]) == 9
    # search.run prints the table, too, and has no --all
    lines = inside(show.app, folder=tmp_path).stdout.splitlines()
    assert f"4 more stopped variants are shown by: python -m results.show {name} --all" in lines


def test_an_unknown_search_ends_with_2_and_one_sentence(folder):
    done = command("results.show", "toy-9", "--json", folder=folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Error: Unknown search 'toy-9'; did you mean 'toy-")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("app", "arguments", "sentence"),
    [
        (show.app, ["toy-1.1"], "did you mean 'toy-1'?"),
        (show.app, ["--tag", "b"], "No search has the tag 'b'; the tags are a"),
        (show.app, ["--note", "nothing"], "No search has 'nothing' in its notes"),
        (show.app, ["--kind", "ff"], "Unknown kind 'ff'; did you mean 'fff'?"),
        (show.app, ["--kind", "zzz"], "Unknown kind 'zzz'; known: fff, mlp."),
        (show.app, ["zzz"], "Unknown search 'zzz'; the latest are toy-1, toy-2."),
        (show.app, ["--csv", "/proc/x.csv"], "The place /proc/x.csv cannot be used (No such file or directory)"),
        (show.app, ["--parquet", "/proc/x"], "The place /proc/x cannot be used (No such file or directory)"),
        (show.app, ["toy-1", "--latex", "{tmp}"], "is a folder"),
        (show.app, ["toy-1", "--csv", "{tmp}"], "is a folder"),
        (show.app, ["toy-1", "--parquet", "{tmp}/no/table.parquet"], "does not exist"),
        (plot.app, ["toy-1", "-o", "{tmp}/picture.foo"], "must be a file that ends in .png"),
        (plot.app, ["toy-9"], "Unknown search 'toy-9'"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(folder, tmp_path, app, arguments, sentence):
    refused = inside(app, *(part.format(tmp=tmp_path) for part in arguments), folder=folder).exception
    assert isinstance(refused, InputError)
    assert sentence in str(refused)


@pytest.mark.parametrize("columns", [80, 100])
def test_statuses_stay_whole_on_a_narrow_screen(folder, columns):
    screen, frames = io.StringIO(), load(f"sqlite:///{folder}/arbor.db")
    print_table(frames, variants(frames, "toy-1"), Console(width=columns, file=screen))
    rows = [line for line in screen.getvalue().splitlines() if "3/3" in line]
    assert len(rows) == 2
    assert all(line.rstrip().endswith(" finished") and len(line) <= columns for line in rows)


@pytest.mark.parametrize("columns", [80, 95, 110, 120])
@pytest.mark.parametrize(
    "search_has", ["wide intervals", "long keys", "several searches", "what happened to each seed"]
)
def test_a_status_is_neither_cut_nor_broken_whatever_else_the_table_holds(tmp_path, columns, search_has):
    with new_store(tmp_path) as store:
        names = [search(store, grid=True, seeds=(0, 1))]
        for hidden, spread in ((80_000, 0.10), (80_001, 0.05)):
            for seed in (0, 1):
                trial(store, names[0], [0.5 + seed * spread], seed=seed, hidden=hidden, test_acc=0.5)
        if search_has == "long keys":
            keys = {"ffn.fff.a_name_that_takes_much_of_a_line": "and_a_value", "layout": "alternating"}
            trial(store, names[0], [0.3], status="interrupted", ffn="fff", **keys)
        if search_has == "several searches":
            names += [search(store)]
            trial(store, names[1], [0.4], status="interrupted", hidden=7)
        if search_has == "what happened to each seed":
            trial(store, names[0], [0.4], status="interrupted", hidden=7)
            trial(store, names[0], [0.4], status="diverged", hidden=7, seed=1)
    screen = io.StringIO()
    frames = load(f"sqlite:///{tmp_path}/arbor.db")
    print_table(frames, variants(frames, names), Console(width=columns, file=screen))
    lines = [line.rstrip() for line in screen.getvalue().splitlines()]
    head = next(place for place, line in enumerate(lines) if line.lstrip().startswith("rank"))
    table = lines[head : next(place for place in range(head + 1, len(lines)) if not lines[place])]
    assert max(len(line) for line in table) <= columns
    assert table[0].endswith(" status")
    begins = table[0].rindex("status")
    said = " ".join(line[begins:] for line in table[2:])
    assert set(said.replace(",", "").split()) <= {"finished", "interrupted", "diverged", "of", "to", "come", "1", "2"}
    assert said.count("finished") == 2
    assert ("interrupted" in said) == (search_has not in ("wide intervals",))


def test_an_experiment_that_reads_like_markup_is_listed_as_text(tmp_path):
    with new_store(tmp_path) as store:
        store.create_search("[bold]odd[/x]", "[/red]", {}, {})
    assert "[bold]odd[/x]-1" in inside(show.app, "--list", folder=tmp_path).stdout


def test_searches_are_listed(folder):
    lines = command("results.show", "--list", folder=folder).stdout.splitlines()
    assert sum("Which is best?" in line for line in lines) == 2


def listed(folder):
    """The line of each search by its id, in words."""
    lines = inside(show.app, "--list", folder=folder).stdout.splitlines()
    return {line.split()[0]: line.split() for line in lines if line.startswith("toy-")}


def test_the_list_shows_a_comparison_s_best_mean_and_not_its_luckiest_seed(tmp_path):
    with new_store(tmp_path) as store:
        name = search(store, grid=True, seeds=(0, 1))
        for hidden, accuracies in ((8, (0.50, 0.54)), (16, (0.30, 0.60)), (32, (0.90,))):
            for seed, accuracy in enumerate(accuracies):
                trial(store, name, [accuracy], seed=seed, hidden=hidden)
        halving = search(store)
        for hidden, accuracy in ((8, 0.5), (16, 0.6)):
            trial(store, halving, [accuracy], hidden=hidden)
        one_seed = search(store, grid=True)
        trial(store, one_seed, [0.7])
        none = search(store, grid=True, seeds=(0, 1))
        trial(store, none, [0.8])
    lines = listed(tmp_path)
    assert [lines[each][-1] for each in (name, halving, one_seed, none)] == ["52.00", "60.00", "70.00", "1"]


def test_the_list_calls_a_search_running_only_while_its_driver_lives(tmp_path):
    here = {"hostname": platform.node(), "driver_pid": 2**31 - 1, "driver_started": 0.0}
    with new_store(tmp_path) as store:
        alive, gone, silent, ended = (search(store) for _ in range(4))
        store.update_search(gone, provenance=here)
        store.update_search(silent, heartbeat=datetime.now(UTC) - timedelta(minutes=9))
        store.update_search(ended, provenance=here, status="ended")
    lines = listed(tmp_path)
    assert [lines[each][3] for each in (alive, gone, silent, ended)] == ["running", "gone", "silent", "ended"]


def test_neither_torch_nor_ray_is_needed():
    modules = "results.show, results.plot, results.compare, results.ingest"
    script = f"import sys, {modules}; print({{'torch', 'ray', 'deepspeed', 'optuna'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=REPOSITORY, timeout=60)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("name", ["toy-1", "toy-2"])
def test_a_picture_has_ink_in_both_panels(folder, tmp_path, name):
    path = tmp_path / "picture.png"
    done = command("results.plot", name, "-o", str(path), folder=folder)
    assert done.returncode == 0, done.stderr
    picture = Image.open(path).convert("RGB")
    assert picture.width > 1200
    for left in (0, picture.width // 2):
        colours = picture.crop((left, 0, left + picture.width // 2, picture.height)).getcolors(1 << 24)
        assert colours is not None
        assert len(colours) > 20


def test_the_front_of_two_objectives_is_a_column_of_its_own(tmp_path):
    with new_store(tmp_path) as store:
        both = search(store, objectives=["val_acc", "parameters"], scheduler="none")
        for hidden, accuracy in ((8, 0.5), (16, 0.4), (24, 0.6)):
            trial(store, both, [accuracy], hidden=hidden)
    storage = f"sqlite:///{tmp_path}/arbor.db"
    frames, console = load(storage), Console(file=io.StringIO(), width=120)
    print_table(frames, variants(frames, both), console)
    lines = console.file.getvalue().splitlines()
    assert "front" in next(line for line in lines if "rank" in line)
    marked = {line.split()[0]: "*" in line for line in lines if line.strip()[:1].isdigit() and "finished" in line}
    assert marked == {"1": True, "2": True, "3": False}
    rows = as_plain(load(storage), variants(load(storage), both))["variants"]
    assert [row["front"] for row in rows] == [True, True, False]


def test_a_search_whose_driver_fell_silent_says_how_to_go_on(tmp_path):
    with new_store(tmp_path) as store:
        name = search(store)
        trial(store, name, [0.5], status="running")
        url = store.url
        shown = CliRunner().invoke(show.app, [name, "--storage", url]).output
        assert "no sign of life" not in shown
        long_ago = datetime.now(UTC) - timedelta(minutes=9)
        store.update_search(name, heartbeat=long_ago)
        shown = CliRunner().invoke(show.app, [name, "--storage", url]).output
        assert "no sign of life for 9 minutes" in shown
        assert f"--resume {name}" in shown
        dead = {"hostname": platform.node(), "driver_pid": 2**31 - 1, "driver_started": 0.0}
        store.update_search(name, heartbeat=datetime.now(UTC), provenance=dead)
        shown = CliRunner().invoke(show.app, [name, "--storage", url]).output
    assert f"Its driver, process {2**31 - 1} of this host, has ended." in shown
    assert f"--resume {name}" in shown
