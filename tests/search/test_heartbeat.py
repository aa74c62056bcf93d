"""Whether a search has a driver that lives: here by its process, elsewhere by its heartbeat."""

import os
import platform
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta

import psutil
import pytest

from results.errors import InputError
from results.store import Store
from search.heartbeat import STALE_SECONDS, Heartbeat, living_driver, refuse_second_driver

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


@pytest.fixture
def store(tmp_path):
    with Store.open(f"sqlite:///{tmp_path}/arbor.db") as opened:
        yield opened


def driven(store, *, host, pid=1, started=0.0, age=0.0, status="running"):
    """A search with a driver, as its row says, that last gave a sign of life `age` seconds before NOW."""
    provenance = {"hostname": host, "driver_pid": pid, "driver_started": started}
    search_id = store.create_search("toy", "?", {}, provenance)
    store.update_search(search_id, heartbeat=NOW - timedelta(seconds=age), status=status)
    return store.search(search_id)


def test_a_driver_on_another_host_is_believed_while_its_heartbeat_is_fresh(store):
    row = driven(store, host="other-" + platform.node(), age=12)
    with pytest.raises(InputError) as refused:
        refuse_second_driver(row, NOW)
    assert str(refused.value) == (
        f"Search toy-1 is being driven by a process on the host other-{platform.node()}, which gave a sign of life 12 s "
        "ago; stop that one first, or wait 48 s without a sign of life if it is dead."
    )
    for seconds in (STALE_SECONDS, 10 * STALE_SECONDS):
        refuse_second_driver(driven(store, host="other", age=seconds), NOW)
    for status in ("ended", "interrupted", "paused"):
        refuse_second_driver(driven(store, host="other", status=status), NOW)


def test_a_process_number_of_another_host_says_nothing_here(store):
    """This process lives, and has the number that a driver elsewhere had."""
    own = psutil.Process()
    row = driven(store, host="other", pid=own.pid, started=own.create_time(), age=2 * STALE_SECONDS)
    assert living_driver(row, NOW) is None
    with pytest.raises(InputError, match="on the host other"):
        refuse_second_driver(driven(store, host="other", pid=own.pid, started=own.create_time()), NOW)


def test_on_this_host_a_dead_process_is_gone_at_once_and_a_living_one_never(store):
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        started = psutil.Process(process.pid).create_time()
        row = driven(store, host=platform.node(), pid=process.pid, started=started, age=100 * STALE_SECONDS)
        with pytest.raises(InputError, match=rf"driven by process {process.pid} on this host; stop that one first\.$"):
            refuse_second_driver(row, NOW)
        recycled = driven(store, host=platform.node(), pid=process.pid, started=started - 50)
        refuse_second_driver(recycled, NOW)
        process.kill()
        while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.01)
        refuse_second_driver(row, NOW)  # it has ended, though whoever started it has not looked
        process.wait()
    refuse_second_driver(driven(store, host=platform.node(), pid=row.provenance["driver_pid"], started=started), NOW)
    own = psutil.Process()
    refuse_second_driver(driven(store, host=platform.node(), pid=os.getpid(), started=own.create_time()), NOW)


def test_a_new_search_is_alive_and_its_heartbeat_goes_on_beside_other_writers(store):
    search_id = store.create_search("toy", "?", {}, {})
    first = store.search(search_id).heartbeat
    assert first is not None
    seen = {first}
    with Heartbeat(store, search_id, seconds=0.02):
        while len(seen) < 6:  # ends by the test's own time limit if no heartbeat comes
            store.update_search(search_id, notes=f"{len(seen)}")
            seen.add(store.search(search_id).heartbeat)
    last = store.search(search_id).heartbeat
    time.sleep(0.1)
    assert store.search(search_id).heartbeat == last
    assert max(seen) <= last


def test_a_heartbeat_that_cannot_be_written_comes_again(store, tmp_path):
    """The table is away for a while, as a database under repair is."""
    import sqlalchemy as sa

    search_id = store.create_search("toy", "?", {}, {})
    engine = sa.create_engine(store.url)

    def rename(old, new):
        with engine.begin() as connection:
            connection.execute(sa.text(f"ALTER TABLE {old} RENAME TO {new}"))

    with Heartbeat(store, search_id, seconds=0.01):
        rename("searches", "away")
        time.sleep(0.2)
        rename("away", "searches")
        back = store.search(search_id).heartbeat
        while store.search(search_id).heartbeat == back:
            time.sleep(0.01)
    engine.dispose()


def test_of_two_processes_that_take_up_a_dead_search_one_gets_it(store):
    for age in (None, 3 * STALE_SECONDS):
        row = driven(store, host="other", age=age or 0)
        if age is None:
            store.update_search(row.id, heartbeat=None)
        seen = store.search(row.id).heartbeat
        assert store.claim_search(row.id, seen, notes="the first")
        assert not store.claim_search(row.id, seen, notes="the second")
        assert store.search(row.id).notes == "the first"
        assert store.search(row.id).heartbeat > NOW - timedelta(days=10_000)
