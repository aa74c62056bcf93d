"""Databases for the tests of the store: whatever is promised of it holds for SQLite and for PostgreSQL."""

import uuid

import pytest
import sqlalchemy as sa


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/arbor.db"


@pytest.fixture
def postgres_url(postgres):
    """A database of the test's own on the session's server."""
    name = f"arbor_{uuid.uuid4().hex[:12]}"
    server = sa.create_engine(postgres, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    server.dispose()
    return postgres.replace("/postgres?", f"/{name}?")


@pytest.fixture(params=["sqlite", "postgresql"])
def address(request, url):
    """One database after the other."""
    return url if request.param == "sqlite" else request.getfixturevalue("postgres_url")
