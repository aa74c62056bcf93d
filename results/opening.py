"""Opening a database: what may be created, what is refused, and how SQLite is set."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote_plus

import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, NoSuchModuleError, SQLAlchemyError

from results import schema
from results.errors import InputError
from results.patience import to_stderr

BUSY_SECONDS = 5
"""How long SQLite itself waits for another process's lock, in silence; `results.patience` goes on from there."""


_SECRET = frozenset({"password", "passfile", "sslpassword", "sslkey"})
"""Parameters of a URL, as libpq has them, that are a password or lead to one."""
_PARAMETER = re.compile(r"(?<=[?&])([^?&=]*)=[^&]*")


def parsed_url(url: str) -> URL:
    """A storage in its parts. Raises InputError where it is malformed."""
    try:
        return make_url(url)
    except (ArgumentError, ValueError):  # ValueError: a port that is no number
        raise InputError(
            f"The storage must be an SQLAlchemy URL such as sqlite:///runs/arbor.db, but got {masked(url)!r}."
        ) from None


def open_engine(url: str, *, create: bool, to_read: bool = False) -> Engine:
    """An engine on a database that has our tables; `to_read` is content with an SQLite file that cannot be written to.

    Raises:
        InputError: a malformed URL, a database that cannot be reached or created, of another program, or of a newer
            version of the schema; an older one that cannot be brought up; with `create=False` also one that does not
            exist.
    """
    parsed = parsed_url(url)
    sqlite = parsed.get_backend_name() == "sqlite"
    if sqlite:
        _check_file(parsed, create=create, to_read=to_read)
    fixed = sqlite and not _is_writable(parsed)
    try:
        engine = sa.create_engine(
            _as_it_lies(parsed) if fixed else parsed, connect_args={"timeout": BUSY_SECONDS} if sqlite else {}
        )
        if sqlite and not fixed:
            sa.event.listen(engine, "connect", _set_sqlite)
        sa.event.listen(engine, "handle_error", _say_what_a_person_can_mend)
        _check_schema(engine, shown(parsed), create=create, fixed=fixed)
    except (NoSuchModuleError, ModuleNotFoundError) as error:
        raise InputError(
            f"The storage {shown(parsed)} needs a database driver that is not installed: {error}."
        ) from error
    except SQLAlchemyError as error:
        reason = str(getattr(error, "orig", None) or error).splitlines()[0]
        if "not a database" in reason:
            raise InputError(f"The file {parsed.database} is not an SQLite database; name another one.") from error
        raise InputError(
            f"The storage {shown(parsed)} cannot be opened ({reason.rstrip('.')}); mend that, or name another one."
        ) from error
    return engine


def _check_file(parsed: URL, *, create: bool, to_read: bool) -> None:
    if not parsed.database or parsed.database == ":memory:":
        raise InputError("The storage must outlive the command, so an SQLite database in memory cannot be used.")
    path = Path(parsed.database)
    folder = path.parent
    if path.is_dir():
        raise InputError(f"The storage must be a file, but {path} is a folder; try sqlite:///{path}/arbor.db.")
    if not path.exists() and not create:
        raise InputError(
            f"There is no database at {path} yet; run a search first (python -m search.run), or name another."
        )
    if not folder.is_dir():
        if folder.name != "runs" or not folder.parent.is_dir():
            raise InputError(
                f"The storage's folder {folder} does not exist (only runs/ is made by itself); make it first."
            )
        if folder.exists() or folder.is_symlink():
            raise InputError(
                f"The storage's folder {folder} must be a folder, but is a file or a broken link; move it away, or name "
                "another storage."
            )
        folder.mkdir(exist_ok=True)
    if not _is_writable(parsed) and not (to_read and os.access(path, os.R_OK)):
        raise InputError(f"The storage {path} cannot be written to; SQLite needs its folder to be writable, too.")


def _is_writable(parsed: URL) -> bool:
    """Whether SQLite may write the file, and make its others beside it."""
    path = Path(parsed.database or "")
    return os.access(path.parent, os.W_OK | os.X_OK) and (not path.exists() or os.access(path, os.W_OK))


def _as_it_lies(parsed: URL) -> URL:
    """The file, for reading alone (https://www.sqlite.org/uri.html).

    Where no write-ahead log has anything, nobody is writing on this side: then it needs no lock, which would have to be
    written.
    """
    path = Path(parsed.database or "").resolve()
    log = path.with_name(f"{path.name}-wal")
    at_rest = not log.exists() or not log.stat().st_size
    query = {"uri": "true", "mode": "ro", **({"immutable": "1"} if at_rest else {})}
    return parsed.set(database=f"file:{quote(str(path))}", query=query)


def _set_sqlite(connection: Any, record: Any) -> None:
    cursor = connection.cursor()
    for pragma in ("synchronous=NORMAL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    ours = cursor.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (schema.meta.name,)).fetchone()
    if ours or cursor.execute("PRAGMA page_count").fetchone() == (0,):
        cursor.execute("PRAGMA journal_mode=WAL")  # written into the file, so never into one of another program
    cursor.close()


def _say_what_a_person_can_mend(context: Any) -> None:
    """SQLite's word for a full disk becomes the OSError that every other writer raises; a damaged file is bad input."""
    if "disk image is malformed" in str(context.original_exception) and context.engine.dialect.name == "sqlite":
        raise InputError(
            f"The database {shown(context.engine.url)} is damaged ({context.original_exception}); put a copy of it "
            "back, or name another one."
        ) from context.original_exception
    if "disk is full" in str(context.original_exception):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), shown(context.engine.url)) from (
            context.original_exception
        )


def _check_schema(engine: Engine, place: str, *, create: bool, fixed: bool) -> None:
    for attempt in range(5):
        tables = set(sa.inspect(engine).get_table_names())
        if schema.meta.name in tables:
            break
        if tables & {table.name for table in schema.metadata.sorted_tables} or (
            tables and engine.url.get_backend_name() == "sqlite"
        ):
            raise InputError(
                f"The database {place} belongs to another program (it has the tables {', '.join(sorted(tables)[:4])}); "
                "name another one."
            )
        if not create:
            raise InputError(f"The database {place} has no searches yet; run one first (python -m search.run).")
        try:
            with _one_transaction(engine) as connection:
                schema.metadata.create_all(connection)
                connection.execute(schema.meta.insert().values(key="schema_version", value=str(schema.SCHEMA_VERSION)))
            break
        except DatabaseError:  # another process made them at the same moment
            if attempt == 4:
                raise
    with engine.connect() as connection:
        found = _version(connection)
    if found < schema.SCHEMA_VERSION:
        if fixed:
            raise InputError(
                f"The database {place} has schema version {found} and must be brought to version "
                f"{schema.SCHEMA_VERSION}, but cannot be written to; copy it, and name the copy."
            )
        _bring_up(engine, found)


def _version(connection: Connection, *, lock: bool = False) -> int:
    """The schema's version that a database says it has. Raises InputError for one that we cannot read."""
    asked = sa.select(schema.meta.c.value).where(schema.meta.c.key == "schema_version")
    found = connection.scalar(asked.with_for_update() if lock else asked)
    place, ours = shown(connection.engine.url), schema.SCHEMA_VERSION
    if found is None or not found.isdecimal() or int(found) < 1:
        raise InputError(
            f"The database {place} must have a schema version from 1 to {ours}, but says {found!r}; put a copy of it back, "
            "or name another one."
        )
    if int(found) > ours:
        raise InputError(
            f"The database {place} has schema version {found}, and this Arbor reads versions up to {ours}; use the Arbor "
            "that wrote it, or name another database."
        )
    return int(found)


def _bring_up(engine: Engine, found: int) -> None:
    """Migrate to our version, all or nothing, and say so. The second of two processes finds it done."""
    place, ours = shown(engine.url), schema.SCHEMA_VERSION
    from results.migrations import migrate  # alembic takes longer to import than most tables to read

    try:
        with _one_transaction(engine) as connection:
            found = _version(connection, lock=True)
            if found == ours:
                return
            migrate(connection, found, ours)
            connection.execute(
                schema.meta.update().where(schema.meta.c.key == "schema_version").values(value=str(ours))
            )
    except DatabaseError as error:
        reason = str(error.orig).strip().splitlines()[0].rstrip(".")
        raise InputError(
            f"The database {place} has schema version {found}, and bringing it to version {ours} failed ({reason}), so it "
            "is as it was; mend that, or use the Arbor that wrote it."
        ) from error
    to_stderr(f"The database {place} had schema version {found}; it was brought to version {ours}.")


@contextmanager
def _one_transaction(engine: Engine) -> Iterator[Connection]:
    """A transaction that holds changes of tables, too: Python's sqlite3 would commit each of them by itself."""
    with engine.begin() as connection:
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        yield connection


def shown(url: URL) -> str:
    """A database's URL without its password, wherever that stands in it."""
    return _without_secrets(url.render_as_string(hide_password=True))


def masked(text: str) -> str:
    """Any text, such as a word of a command line, without what may be the password of a URL in it."""
    login, at, place = text.rpartition("@")
    scheme, separator, user = login.rpartition("://")
    hidden = f"{scheme}{separator}{user.partition(':')[0]}:***@{place}" if at and ":" in user else text
    return _without_secrets(hidden)


def _without_secrets(url: str) -> str:
    """The values of secret parameters as ***, also where their names are percent-encoded."""
    return _PARAMETER.sub(
        lambda found: f"{found[1]}=***" if unquote_plus(found[1]).lower() in _SECRET else found[0], url
    )
