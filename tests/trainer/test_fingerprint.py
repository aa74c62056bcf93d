"""What a row says of its code: from small git repositories with the files that people and their editors leave."""

import hashlib
import json
import os
import subprocess

import pytest

from trainer.fingerprint import code_fingerprint, source_hash


def git(folder, *arguments):
    done = subprocess.run(
        ["git", "-c", "user.name=a", "-c", "user.email=a@b.c", "-C", str(folder), *arguments],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return done.stdout.strip()


def sources(folder):
    """The packages whose files count, as small as they get."""
    for name in ("trainer/fingerprint.py", "trainer/trial.py", "arch_space/ffn/mlp.py"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"# {name}\n")
    return folder


@pytest.fixture
def repository(tmp_path):
    """A clean one, with one commit."""
    folder = sources(tmp_path / "arbor")
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "all")
    return folder


def test_a_clean_tree_is_its_commit(repository):
    found = code_fingerprint(repository)
    assert found == {
        "git_commit": git(repository, "rev-parse", "HEAD"), "dirty": False, "source_hash": source_hash(repository)
    }  # fmt: skip


@pytest.mark.parametrize(
    "name", ["my notes.py", "idée.py", 'a"quote.py', "two\nlines.py", os.fsdecode(b"latin\xe9.py")]
)
def test_an_untracked_file_of_any_name_is_part_of_the_diff(repository, name):
    (repository / name).write_text("x = 1\n")
    (repository / "plain.py").write_text("y = 2\n")
    (repository / "trainer" / "trial.py").write_text("# changed\n")
    found = code_fingerprint(repository)
    assert found["dirty"]
    shown = os.fsencode(name).decode(errors="replace")
    for part in (f"+++ {shown}\nx = 1\n", "+++ plain.py\ny = 2\n", "+# changed\n"):
        assert part in found["diff"]
    json.dumps(found).encode()
    found["diff"].encode()  # a database takes nothing else


def test_a_changed_file_in_an_encoding_of_its_own_is_part_of_the_diff(repository):
    (repository / "trainer" / "trial.py").write_bytes(b"# -*- coding: latin-1 -*-\n# caf\xe9\n")
    assert "+# caf�\n" in code_fingerprint(repository)["diff"]


def test_what_cannot_be_read_is_left_out_of_the_diff(repository):
    (repository / "trainer" / ".#trial.py").symlink_to("somebody@somewhere.123")
    (repository / "loop.py").symlink_to("loop.py")
    (repository / "a_folder.py").mkdir()
    git(repository / "a_folder.py", "init", "-q")  # which git names as if it were a file
    (repository / "plain.py").write_text("y = 2\n")
    assert code_fingerprint(repository)["diff"] == "+++ plain.py\ny = 2\n"


def test_an_editors_lock_and_hidden_files_do_not_change_the_hash_of_the_sources(repository):
    before = source_hash(repository)
    trainer = repository / "trainer"
    (trainer / ".#trial.py").symlink_to("somebody@somewhere.123")
    (trainer / "gone.py").symlink_to("nowhere.py")
    (trainer / "folder.py").mkdir()
    (trainer / ".ipynb_checkpoints").mkdir()
    for name in (".trial.py", ".ipynb_checkpoints/trial-checkpoint.py"):
        (trainer / name).write_text("x = 1\n")
    assert source_hash(repository) == before
    (trainer / "new.py").write_text("x = 1\n")
    assert source_hash(repository) != before


def test_the_hash_of_the_sources_is_over_names_and_contents_in_order(tmp_path):
    """So that rows that were written before keep their meaning."""
    text = b"".join(
        name + b"\0# " + name + b"\n"
        for name in (b"arch_space/ffn/mlp.py", b"trainer/fingerprint.py", b"trainer/trial.py")
    )
    assert source_hash(sources(tmp_path)) == hashlib.sha256(text).hexdigest()[:16]


def test_a_repository_around_an_installation_says_nothing_of_its_code(tmp_path):
    """A project that has Arbor in an environment of its own, of which git knows nothing."""
    project = tmp_path / "project"
    installed = sources(project / ".venv" / "lib" / "site-packages")
    (project / "theirs.py").write_text("secret = 1\n")
    (project / ".gitignore").write_text(".venv\n")
    git(project, "init", "-q")
    git(project, "add", "theirs.py", ".gitignore")
    git(project, "commit", "-q", "-m", "theirs")
    (project / "theirs.py").write_text("secret = 2\n")
    without_git = {"git_commit": None, "dirty": None, "source_hash": source_hash(installed)}
    assert code_fingerprint(installed) == without_git
    (project / ".gitignore").unlink()  # not ignored, and still not theirs
    code_fingerprint.cache_clear()
    assert code_fingerprint(installed) == without_git


def test_without_git_there_is_the_hash_alone(tmp_path):
    folder = sources(tmp_path / "unpacked")
    assert code_fingerprint(folder) == {"git_commit": None, "dirty": None, "source_hash": source_hash(folder)}
