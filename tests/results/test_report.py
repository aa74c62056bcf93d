"""`python -m results.report`: what the page says, in which words, and that text of the store stays text."""

import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import altair as alt
import pytest
import vl_convert
from typer.testing import CliRunner

from results import report
from results.errors import InputError
from results.export import as_plain
from results.frames import load
from results.ingest import ingest
from results.page.build import report as page_of
from results.page.vega import libraries
from results.table import variants

sys.path.insert(0, str(Path(__file__).parent))
from recorded import new_store, search, trial

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'{{7*7}}\x1b[2J\u2028"


class Page(HTMLParser):
    """What a browser would find: tags with their attributes, scripts, and the text that a reader sees."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.scripts, self.text, self._open = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag in ("script", "style"):
            self._open.append(tag)
            self.scripts += [""] if tag == "script" else []

    def handle_endtag(self, tag):
        if self._open and tag == self._open[-1]:
            self._open.pop()

    def handle_data(self, data):
        if self._open[-1:] == ["script"]:
            self.scripts[-1] += data
        elif not self._open:
            self.text.append(data)

    @property
    def words(self):
        return " ".join(" ".join(self.text).replace("\u00a0", " ").split())

    @property
    def specs(self):
        return json.loads(self.scripts[1]) if len(self.scripts) > 2 else {}

    def rows(self):
        return [values for tag, values in self.tags if tag == "tr" and "data-kind" in values]


def page(store, name):
    return Page(page_of(load(store.url), name, store.url))


def compared(store, values, seeds=3, **settings):
    """A comparison of variants of these means, whose seeds lie half a point apart."""
    name = search(store, grid=True, seeds=range(seeds), **settings)
    for place, mean in enumerate(values):
        for seed in range(seeds):
            trial(store, name, [0.3, mean + 0.005 * (seed - 1)], seed=seed, hidden=8 * (place + 1))
    return name


def test_a_page_has_the_numbers_of_the_table_and_one_copy_of_the_libraries(tmp_path):
    with new_store(tmp_path) as store:
        name = search(store, rungs=(1,))
        for hidden, accuracy in ((8, 0.5), (16, 0.6), (32, 0.7)):
            trial(store, name, [0.3, accuracy], hidden=hidden)
        trial(store, name, [0.2], status="stopped", hidden=64)
        text = page_of(load(store.url), name, store.url)
        found = Page(text)
        shown = as_plain(load(store.url), variants(load(store.url), name, everything=True))
    assert len(found.rows()) == len(shown["variants"]) == 4
    cells = [values["data-value"] for tag, values in found.tags if tag == "td" and "data-value" in values]
    assert [str(float(row["val_acc"])) in cells for row in shown["variants"]] == [True, True, True, False]
    assert shown["variants"][3]["status"] == "stopped", "its accuracy is shown, but is no number to sort by"
    assert text.count(libraries()[:200]) == 1
    assert {"curves", "parameters", "rungs"} <= set(found.specs)
    assert "70.00" in found.words
    assert "Which is best?" in found.words


def test_each_race_has_a_bar_of_its_own_in_the_picture_of_decisions(tmp_path):
    with new_store(tmp_path) as store:
        name = search(store, rungs=(1,))
        for ffn in ("mlp", "fff"):
            trial(store, name, [0.3, 0.5], ffn=ffn)
            trial(store, name, [0.2], status="stopped", ffn=ffn, hidden=64)
        spec = json.dumps(page(store, name).specs["rungs"])
        pooled = search(store, rungs=(1,), pooled_rungs=True)
        for ffn in ("mlp", "fff"):
            trial(store, pooled, [0.3, 0.5], ffn=ffn)
            trial(store, pooled, [0.2], status="stopped", ffn=ffn, hidden=64)
        together = page(store, pooled).specs["rungs"]
    bars = [row for row in re.findall(r"\{[^{}]*\}", spec) if '"aside": 0,' in row or row.endswith('"aside": 0}')]
    assert {re.search(r'"race": "(\w+)"', row)[1] for row in bars} == {"fff", "mlp"}
    assert '"race": "all"' in json.dumps(together)
    assert '"race": "mlp"' not in json.dumps(together)


def test_nothing_of_a_page_comes_from_outside(tmp_path):
    with new_store(tmp_path) as store:
        name = compared(store, (0.5, 0.6))
        found = page(store, name)
    for _, attributes in found.tags:
        assert not {"src", "href", "srcset", "action", "background"} & set(attributes)
    policy = next(a["content"] for t, a in found.tags if t == "meta" and "Content-Security-Policy" in a.values())
    assert policy.startswith("default-src 'none'")
    assert "$schema" not in found.scripts[1]


def test_a_search_is_called_unconfirmed_and_its_order_not_resolved(tmp_path):
    with new_store(tmp_path) as store:
        name = search(store)
        trial(store, name, [0.5], hidden=8)
        one = page(store, name).words
        trial(store, name, [0.6], hidden=16)
        two = page(store, name).words
        trial(store, name, [0.6], hidden=32)
        three = page(store, name).words
    assert "Searched, unconfirmed: the best single run" in one
    assert "Whether it beats" not in one
    assert "Whether it beats the next, “8” (10.00 points below), is not resolved" in two.replace("hidden=", "")
    assert "2 variants have this accuracy, and which is best is not resolved" in three


def test_a_comparison_claims_what_its_test_shows_and_no_more(tmp_path):
    with new_store(tmp_path) as store:
        apart = page(store, compared(store, (0.5, 0.6))).words
        near = page(store, compared(store, (0.5, 0.502))).words
        many = page(store, compared(store, (0.5, 0.6, 0.601))).words
        single = page(store, compared(store, (0.5, 0.6), seeds=1)).words
    # by hand: s = 0.5 points, 4 degrees of freedom, error 0.5 sqrt(2/3) = 0.408, t = 2.776: 10 +- 1.13
    assert "It is told apart from “hidden=8”, which is 10.00 points lower (95 % interval 8.87 to 11.13" in apart
    assert "hidden=16 is better than hidden=8 by 10.00 points (95 % interval 8.87 to 11.13" in apart
    assert "Not resolved: whether it is better than “hidden=8”" in near
    assert "it is told apart from the other 1" in many
    assert "Not resolved: one seed a variant shows no spread" in single


def test_the_answer_says_how_the_variant_that_was_named_first_stands_to_each_other_one(tmp_path):
    with new_store(tmp_path) as store:
        words = page(store, compared(store, [0.70, 0.60, 0.701, 0.75], seeds=4)).words
        best = page(store, compared(store, [0.75, 0.60], seeds=4)).words
    said = words[words.index("The first that was named") : words.index("verdicts by Holm's correction")]
    assert "“hidden=8”, is 10.00 points above “hidden=16” (" in said
    assert "; not resolved against “hidden=24” (-" in said
    assert "; and 5.00 points below “hidden=32” (" in said
    assert "The first that was named" not in best  # its own sentence says it all


def test_a_confirmation_stands_beside_its_search(tmp_path):
    with new_store(tmp_path) as store:
        found = search(store)
        first = trial(store, found, [0.7], hidden=8)
        trial(store, found, [0.6], hidden=16)
        frames = load(store.url).trials.set_index("id")
        confirms = {
            "search": found, "ranked": 2, "variants": [{"variant": frames.variant[first], "trial": first}],
            "baseline": {"variant": frames.variant[f"{found}.2"], "named": True, "recipe": first},
        }  # fmt: skip
        again = compared(store, (0.66, 0.6), confirms=confirms)
        both, confirmed = page(store, found), page(store, again)
    assert "Winner's curse" in confirmed.words
    assert "confirmed" in confirmed.specs
    assert f"Trained again in {again}: The search's winner" in both.words
    assert "searched, unconfirmed" not in " ".join(both.text[:8])


def test_a_search_without_a_trial_or_without_a_finished_one_has_a_page(tmp_path):
    with new_store(tmp_path) as store:
        name = search(store)
        empty = page(store, name)
        trial(store, name, [], status="pending")
        trial(store, name, [0.3, 0.4], status="running", hidden=16)
        trial(store, name, [], status="failed", hidden=32)
        store.update_trial(f"{name}.3", cause="no memory")
        some = page(store, name)
    assert "No trial has been started yet." in empty.words
    assert empty.rows() == []
    assert "No variant has run to its end, so nothing is ranked" in some.words
    assert f"{name}.3 failed after 0 epochs: no memory" in some.words
    assert "The search is running" in some.words


def test_variants_of_several_protocols_are_answered_in_groups(tmp_path):
    with new_store(tmp_path) as store:
        name = search(store)
        for epochs in (2, 3):
            for hidden in (8, 16):
                trial(store, name, [0.3, 0.5 + hidden / 1000], hidden=hidden, epochs=epochs)
        found = page(store, name)
    assert "Group 1: Searched, unconfirmed" in found.words
    assert "Group 2: Searched, unconfirmed" in found.words
    assert "2 protocols" in found.words


def test_imported_results_have_a_page_and_no_rank(tmp_path):
    block = "Experiment:\n\tarch: {}\n\tparams: dim={}\n\tbest_val_acc: {}\n\tnum_params: {}\n\n"
    file = tmp_path / "old.txt"
    file.write_text(block.format("vit", 8, 80, 100) + block.format("vit", 16, 82, 400) + "Experiment:\nnonsense\n")
    url = f"sqlite:///{tmp_path}/arbor.db"
    name = ingest(file, url).search
    found = Page(page_of(load(url), name, url))
    assert "2 imported variants" in found.words
    assert "82.00 %" in found.words
    assert "chosen on the test images" in found.words
    assert "parameters" in found.specs
    assert not [values for tag, values in found.tags if values.get("data-copy", "").find("trainer.replay") >= 0]


def test_hostile_text_stays_text_everywhere(tmp_path):
    with new_store(tmp_path) as store:
        name = store.create_search(
            "toy", HOSTILE, {"grid": None, "seeds": [0], "rungs": [], "scheduler": HOSTILE, "ranges": {HOSTILE: [1]}},
            {"diff": HOSTILE, "git_commit": HOSTILE, "dirty": True}, notes=HOSTILE, tags=[HOSTILE],
        )  # fmt: skip
        for hidden in (8, 16, 32):
            trial(store, name, [0.1, 0.2], ffn=HOSTILE, hidden=hidden, **{f"ffn.{HOSTILE}": hidden, "layout": HOSTILE})
        trial(store, name, [0.1], ffn="mlp", status="failed")
        store.update_trial(f"{name}.4", cause=HOSTILE, provenance={"gpu": HOSTILE, "versions": {HOSTILE: HOSTILE}})
        text = page_of(load(store.url), name, store.url)
    found = Page(text)
    assert len(found.scripts) == 3
    assert not {"img"} & {tag for tag, _ in found.tags}
    assert not [a for _, attributes in found.tags for a in attributes if a.startswith("on")]
    assert "\x1b" not in text
    assert "49" not in re.findall(r"\{\{.*?\}\}|49", found.words.partition("Provenance")[0])[:1]
    assert "<script>alert(1)</script>" in "".join(found.text)  # seen as text
    assert "</script" not in found.scripts[1].lower()
    assert "curves" in found.specs


@pytest.mark.slow
def test_a_thousand_trials_stay_below_ten_megabytes(tmp_path):
    with new_store(tmp_path) as store:
        name = search(store)
        rows = [
            {
                "config": {"ffn": "mlp", "ffn.mlp.hidden": number, "lr": number / 1e4, "data": "digits", "epochs": 3},
                "val_acc": 0.5 + number / 4000, "best_val_acc": 0.5, "parameters": 100 * number, "epochs": 3,
                "wall_seconds": 1.0, "gpu_seconds": 0.0, "provenance": {},
            }
            for number in range(1, 1001)
        ]  # fmt: skip
        name = store.import_search("many", "Many?", {"grid": None, "scheduler": "none"}, {}, "", [], rows)
        text = page_of(load(store.url), name, store.url)
    assert len(Page(text).rows()) == 1000
    assert len(text.encode()) < 10e6


def test_only_a_report_is_written_over_unless_forced(tmp_path):
    with new_store(tmp_path) as store:
        name = search(store)
        url = store.url
    target = tmp_path / "mine.html"

    def run(*arguments):
        return CliRunner().invoke(report.app, [name, "--storage", url, *arguments])

    target.write_text("<p>a page of my own")
    refused = run("-o", str(target))
    assert isinstance(refused.exception, InputError)
    assert "is not a report" in str(refused.exception)
    assert target.read_text() == "<p>a page of my own"
    assert run("-o", str(target), "--force").exit_code == 0
    assert run("-o", str(target)).exit_code == 0
    assert run("-o", str(tmp_path)).output.startswith(f"Report: {tmp_path / name}.html (")
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_place_that_cannot_be_written_to_is_named_as_the_user_did(tmp_path):
    with new_store(tmp_path) as store:
        name = search(store)
        url = store.url
    target = tmp_path / f"{'a' * 245}.html"  # with what a temporary name adds too long for a file system
    found = CliRunner().invoke(report.app, [name, "-o", str(target), "--storage", url])
    assert isinstance(found.exception, OSError)
    assert found.exception.filename == str(target)
    found = CliRunner().invoke(report.app, [name, "-o", "/proc/x.html", "--storage", url])
    assert isinstance(found.exception, InputError)
    assert (
        str(found.exception) == "The place /proc/x.html cannot be used (No such file or directory); name another one."
    )


def drawn_texts(spec, width):
    """Every text of a picture as it is drawn."""
    return re.findall(r"<text[^>]*>([^<]*)</text>", vl_convert.vegalite_to_svg({**spec, "width": width}))


@pytest.mark.parametrize(("epochs", "ticks"), [(1, [1]), (3, [1, 2, 3]), (25, [1, 5, 10, 15, 20, 25])])
def test_the_axis_of_epochs_has_whole_numbers_and_each_once(tmp_path, epochs, ticks):
    with new_store(tmp_path) as store:
        name = search(store, rungs=(1, 3))
        trial(store, name, [0.1 + epoch / 100 for epoch in range(epochs)])
        trial(store, name, [0.2], status="stopped", hidden=16)
        spec = page(store, name).specs["curves"]
    texts = drawn_texts(spec, 900)
    assert [int(text) for text in texts[: texts.index("epoch")]] == ticks


def test_variants_of_one_kind_have_names_and_colours_of_their_own(tmp_path):
    with new_store(tmp_path) as store:
        specs = page(store, compared(store, (0.5, 0.6))).specs
        many = search(store)
        for number in range(9):
            trial(store, many, [0.2, 0.4 + number / 100], hidden=8 * (1 + number))
        crowded = page(store, many).specs
    for spec in (specs["curves"], specs["parameters"]):
        texts = drawn_texts(spec, 900)
        assert texts.count("hidden=16") == texts.count("hidden=8") == 1
    texts = drawn_texts(crowded["curves"], 900)
    assert {"hidden=72", "hidden=32", "3 other variants"} <= set(texts)
    assert "hidden=24" not in texts


def test_points_of_a_page_are_moved_only_where_they_would_cover_each_other(tmp_path):
    with new_store(tmp_path) as store:
        name = search(store)
        for layout, accuracy in (("single", 0.4), ("pair", 0.6)):
            trial(store, name, [accuracy], layout=layout)
        trial(store, name, [0.5], hidden=16)
        apart = page(store, name).specs["parameters"]
        trial(store, name, [0.4], lr=0.1)
        near = page(store, name).specs["parameters"]
    assert "parameters" in drawn_texts(apart, 400)
    assert '"x": 8000' in json.dumps(apart)
    assert "parameters (equal ones side by side)" in drawn_texts(near, 400)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["toy-2"], "Unknown search 'toy-2'; did you mean 'toy-1'?"),
        (["-o", "no/such.html"], "The folder no does not exist; make it, or name another file."),
        (["-o", "one.pdf"], "The report must be a file that ends in .html, but got one.pdf."),
    ],
)
def test_what_cannot_be_reported_is_refused_in_one_sentence(tmp_path, arguments, sentence):
    with new_store(tmp_path) as store:
        search(store)
        url = store.url
    found = CliRunner().invoke(report.app, [*arguments, "--storage", url])
    assert isinstance(found.exception, InputError)
    assert str(found.exception) == sentence


def test_every_picture_is_a_specification_that_vega_knows_and_draws(tmp_path):
    with new_store(tmp_path) as store:
        one = search(store, rungs=(1,))
        for depth in range(1, 5):
            trial(store, one, [0.3, 0.4 + depth / 20], ffn="fff", lr=depth / 1000, **{"ffn.fff.depth": depth})
        trial(store, one, [0.2], status="stopped", hidden=16)
        two = compared(store, (0.5, 0.6))
        specs = [spec for name in (one, two) for spec in page(store, name).specs.items()]
    assert {name for name, _ in specs} >= {"curves", "neurons_used", "parallel", "rungs", "differences", "parameters"}
    for name, spec in specs:
        alt.Chart.from_dict({key: value for key, value in spec.items() if key != "config"}, validate=True)
        drawn = vl_convert.vegalite_to_svg({**spec, "width": 400})
        assert re.search(r'class="mark-(symbol|line|rect|rule) role-mark', drawn), name
