"""The command that a search keeps among its provenance: as a person would type it, without a password."""

from search.prepare import command_line


def test_a_command_is_kept_as_one_would_type_it_and_without_a_password():
    words = ["/a/b/search/run.py", "my idea.py", "--storage", "postgresql://me:secret@host/db", "--set", "lr=1e-3"]
    assert (
        command_line(words) == "python -m search.run 'my idea.py' --storage 'postgresql://me:***@host/db' --set lr=1e-3"
    )
    assert command_line(["/usr/bin/pytest", "-q"]) == "pytest -q"
