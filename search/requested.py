"""What was asked of a running search from another terminal, as its driver reads it from the store.

The last request for a trial counts, and stays open in the store until it is acted on, so one that a killed driver had not
come to is done by the next. What was asked of the whole search (`ending`) is over with the driver: whoever says `--resume`
afterwards wants it to go on.
"""

from __future__ import annotations

from results.rows import RequestRow
from results.store import Store

REQUESTS = ("stop", "pause", "resume")


class Requested:
    """The open requests of one search. What was asked of the whole search before is marked as handled."""

    def __init__(self, store: Store, search_id: str) -> None:
        self._store, self._search_id = store, search_id
        self.ending: str | None = None
        """`stop` or `pause`: the driver shall end; a stop ends the trials, too."""
        self._of: dict[str, RequestRow] = {}
        for request in store.requests(search_id, still_open=True):
            if request.trial_id is None:
                store.handle_request(request.id)

    def look(self) -> list[str]:
        """Read what is open now; the trials of which something is asked."""
        ending, of = None, dict[str, RequestRow]()
        for request in self._store.requests(self._search_id, still_open=True):
            if request.trial_id is None:
                ending = request.request
            else:
                if request.trial_id in of:
                    self._store.handle_request(of[request.trial_id].id)  # overruled by this one
                of[request.trial_id] = request
        self.ending, self._of = ending, of
        return list(of)

    def of(self, trial_id: str) -> str | None:
        """What a trial is to do, if anything."""
        request = self._of.get(trial_id)
        return request.request if request is not None else None

    def done(self, trial_id: str) -> None:
        """The request of this trial, if there is one, was acted on."""
        request = self._of.pop(trial_id, None)
        if request is not None:
            self._store.handle_request(request.id)

    def end(self) -> None:
        """The driver ends: what was asked of the whole search is done."""
        for request in self._store.requests(self._search_id, still_open=True):
            if request.trial_id is None:
                self._store.handle_request(request.id)
