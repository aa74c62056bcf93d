"""What a resumed search refuses unless told, and what it records: real stores, files and sessions."""

import hashlib
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from results.errors import InputError
from results.store import Store
from search.changes import variant_hashes
from search.prepare import check_new, experiment_of, prepare_new, prepare_resume
from search.resources import plan_resources
from search.session import Session

sys.path.insert(0, str(Path(__file__).parent))
from test_session import report_of

SOURCE = '''\
from search.experiment import Experiment


def changing() -> Experiment:
    """What changes?"""
    return Experiment(base={"data": "digits", "epochs": 3, "batch_size": 64}, space=space, trials=6, scheduler="none",
                      sampler="SAMPLER")


def space(scope):
    return {"ffn": "mlp", "ffn.mlp.hidden": scope.int("ffn.mlp.hidden", 8, 64)}
'''


def resources(concurrency=1):
    return plan_resources(concurrency=concurrency, cpus_per_trial=None, gpus_per_trial=None, threads=1)


@pytest.fixture
def store(tmp_path):
    with Store.open(f"sqlite:///{tmp_path}/arbor.db") as opened:
        yield opened


class Changing:
    """A search by an experiment's file, of which three trials have run and one is in its first epoch."""

    def __init__(self, store, folder, sampler="tpe", variants=()):
        self.store, self.path, self.variants = store, folder / "changing.py", variants
        self.path.write_text(SOURCE.replace("SAMPLER", sampler))
        from search import catalog

        checked = check_new(str(self.path), catalog.load(str(self.path)), resources())
        prepared = prepare_new(store, checked, notes="", tags=(), variants=variants)
        self.id = prepared.search_id
        self.first = self.session(prepared)
        self.train(self.first, 10)
        self.first.close()

    def session(self, prepared):
        return Session(
            self.store, self.id, prepared.experiment, folder=prepared.folder, header=prepared.header, concurrency=1,
            gpus_per_trial=0, startup_trials=prepared.startup_trials,
        )  # fmt: skip

    def train(self, session, reports):
        while reports and (assignment := session.next_trial()) is not None:
            epoch, stop = assignment.reported, False
            while reports and not stop:
                epoch, reports = epoch + 1, reports - 1
                stop = session.report(assignment.trial_id, report_of({**assignment.flat, "lr": 1e-3}, epoch), {})

    def resume(self, accept=False, concurrency=1, variants=None, **changes):
        row = self.store.search(self.id)
        experiment = replace(experiment_of(row.settings, row.experiment), **changes)
        given = self.variants if variants is None else variants
        return prepare_resume(
            self.store, self.id, experiment, resources(concurrency), variants=given, accept_changes=accept
        )

    @property
    def changes(self):
        return self.store.search(self.id).provenance["changes"]


def test_more_trials_and_another_concurrency_need_no_leave_and_are_recorded(store, digits, tmp_path):
    changing = Changing(store, tmp_path)
    changing.resume()
    assert changing.changes == []
    session = changing.session(changing.resume(trials=8, concurrency=2))
    (change,) = changing.changes
    assert [line for line in change["changed"] if line.startswith(("trials", "concurrency"))] == [
        "trials: 6 -> 8",
        "concurrency: 1 -> 2",
    ]
    assert change["accepted"] == []
    changing.train(session, 10**6)
    assert [row.status for row in store.trials(changing.id)] == ["finished"] * 8
    changing.resume(trials=8, concurrency=2)
    assert len(changing.changes) == 1


@pytest.mark.parametrize("what", ["code", "data", "variants"])
def test_changed_code_and_data_are_refused_unless_told_and_recorded(store, digits, tmp_path, what):
    variants = (str(tmp_path / "kinds.py"),)
    Path(variants[0]).write_text("x = 1\n")
    changing = Changing(store, tmp_path, variants=variants)
    row = store.search(changing.id)
    if what == "code":  # as a search has it that began with other files
        now = row.provenance["source_hash"]
        store.update_search(row.id, provenance={**row.provenance, "source_hash": "0123456789abcdef"})
        said = f"The code of the model has changed since {row.id} began (arch_space/ or trainer/: 0123456789abcdef -> "
    elif what == "data":
        now = row.settings["data_checksum"]
        store.update_search(row.id, settings={**row.settings, "data_checksum": "f" * 64})
        said = f"The data set 'digits' has changed since {row.id} began (checksum {now[:12]}, recorded {'f' * 12})."
    else:
        Path(variants[0]).write_text("x = 12\n")
        said = f"The code of the model has changed since {row.id} began ({variants[0]}: "
    before = store.search(row.id)
    with pytest.raises(InputError) as refused:
        changing.resume()
    assert str(refused.value).startswith(said)
    assert str(refused.value).endswith(f"or go on with {row.id} all the same with --accept-changes, which is recorded.")
    assert store.search(row.id) == before
    session = changing.session(changing.resume(accept=True))
    (change,) = changing.changes
    assert [sentence.startswith(said) for sentence in change["accepted"]] == [True]
    if what == "data":
        assert f"data_checksum: {'f' * 64} -> {now}" in change["changed"]
    assert session.supply.sampler_is_exact
    changing.resume()  # what was accepted once is not asked for again
    assert len(changing.changes) == 1


def test_an_added_file_of_variants_is_no_change_of_the_code(store, digits, tmp_path):
    changing = Changing(store, tmp_path)
    added = tmp_path / "more.py"
    added.write_text("x = 1\n")
    changing.resume(variants=(str(added),))
    assert changing.changes == []


def test_a_link_that_leads_nowhere_is_no_change_of_the_code(tmp_path):
    """An editor leaves one beside a file that is open in it."""
    kinds = tmp_path / "kinds"
    kinds.mkdir()
    (kinds / "mine.py").write_text("x = 1\n")
    before = variant_hashes([str(kinds)])
    assert before == {str(kinds): hashlib.sha256(b"mine.py\0x = 1\n").hexdigest()[:16]}
    (kinds / ".#mine.py").symlink_to("somebody@somewhere.123")
    (kinds / "folder.py").mkdir()
    assert variant_hashes([str(kinds)]) == before
    (kinds / "more.py").write_text("x = 1\n")
    assert variant_hashes([str(kinds)]) != before


@pytest.mark.parametrize("sampler", ["tpe", "nsgaii"])
def test_a_changed_space_is_refused_unless_told_and_then_the_search_goes_on_in_it(store, digits, tmp_path, sampler):
    changing = Changing(store, tmp_path, sampler)
    widths = [row.config["ffn.mlp.hidden"] for row in store.trials(changing.id)]
    changing.path.write_text(SOURCE.replace("SAMPLER", sampler).replace("8, 64", "100, 164"))
    with pytest.raises(InputError) as refused:
        changing.resume()
    assert str(refused.value).startswith(
        "The space of 'changing' has changed since trial 1 was sampled (ffn.mlp.hidden). Put back what was there"
    )
    session = changing.session(changing.resume(accept=True))
    assert not session.supply.sampler_is_exact
    (change,) = changing.changes
    assert "The space of 'changing' has changed since trial 1" in change["accepted"][0]
    changing.train(session, 5)
    session.close()
    changing.resume()  # what was accepted once is not asked for again, but of later trials
    changing.path.write_text(SOURCE.replace("SAMPLER", sampler).replace("8, 64", "10, 99"))
    with pytest.raises(InputError, match="has changed since trial 5 was sampled"):
        changing.resume()
    changing.path.write_text(SOURCE.replace("SAMPLER", sampler).replace("8, 64", "100, 164"))
    session = changing.session(changing.resume())
    changing.train(session, 10**6)
    rows = store.trials(changing.id)
    assert [row.status for row in rows] == ["finished"] * 6  # the trial that had begun, too
    assert [row.config["ffn.mlp.hidden"] for row in rows[:4]] == widths
    assert all(100 <= row.config["ffn.mlp.hidden"] <= 164 for row in rows[4:])


@pytest.mark.parametrize("bounds", ["4, 256", "8, 65"])
def test_a_wider_space_is_refused_unless_told_though_all_trials_fit_it(store, digits, tmp_path, bounds):
    changing = Changing(store, tmp_path)
    changing.path.write_text(changing.path.read_text().replace("8, 64", bounds))
    low, high = bounds.split(", ")
    said = rf"The space of 'changing' has changed since {changing.id} began \(ffn.mlp.hidden: 8 to 64 -> {low} to {high}\)\."
    with pytest.raises(InputError, match=said):
        changing.resume()
    changing.resume(accept=True)
    assert len(changing.changes[-1]["accepted"]) == 1
    changing.resume()  # it is the space now


def test_other_ranges_in_the_file_change_nothing_and_are_said(store, digits, tmp_path):
    changing = Changing(store, tmp_path)
    changing.path.write_text(
        changing.path.read_text().replace("trials=6", 'trials=6, ranges={"ffn.mlp.hidden": (8, 32)}')
    )
    (note,) = changing.resume().notes
    assert f"has other ranges by now (ffn.mlp.hidden: absent -> [8, 32]); {changing.id} goes on" in note


def test_another_base_in_the_file_changes_nothing_and_is_said(store, digits, tmp_path):
    changing = Changing(store, tmp_path)
    assert changing.resume().notes == ()
    changing.path.write_text(changing.path.read_text().replace('"epochs": 3', '"epochs": 2, "dim": 32'))
    prepared = changing.resume()
    assert prepared.experiment.epochs == 3
    (note,) = prepared.notes
    assert f"has another base by now (dim: absent -> 32; epochs: 3 -> 2); {changing.id} goes on" in note


COMPARED = '''\
from search.experiment import Experiment


def compared() -> Experiment:
    """Which depth?"""
    return Experiment(base={"data": "digits", "ffn": "fff", "epochs": 3}, grid=[{"ffn.fff.depth": d} for d in (DEPTHS)])
'''


def test_a_grid_may_grow_but_is_refused_where_it_has_other_variants(store, digits, tmp_path):
    from search import catalog

    path = tmp_path / "compared.py"

    def of(depths):
        path.write_text(COMPARED.replace("DEPTHS", depths))

    def resumed(accept=False):
        row = store.search("compared-1")
        experiment = experiment_of(row.settings, row.experiment)
        return prepare_resume(store, row.id, experiment, resources(), variants=(), accept_changes=accept)

    of("2, 3")
    checked = check_new(str(path), catalog.load(str(path)), resources())
    prepare_new(store, checked, notes="", tags=(), variants=())
    store.update_search("compared-1", status="ended")
    assert resumed().notes == ()
    store.update_search("compared-1", status="ended")
    of("2, 3, 4")
    assert resumed().notes == (f"New in {path}, and trained with the others: fff depth=4.",)
    store.update_search("compared-1", status="ended")
    of("2, 3, 5")
    with pytest.raises(
        InputError, match=r"The grid of 'compared' has changed .*\(gone: fff depth=4; new: fff depth=5\)"
    ):
        resumed()
    of("2, 3")
    (note,) = resumed().notes
    assert note == f"{path} no longer has fff depth=4; compared-1 keeps what it has."
    store.update_search("compared-1", status="ended")
    of("2, 3, 5")
    assert len(resumed(accept=True).experiment.grid) == 4
