"""The exceptions that stand for what a person can mend."""


class InputError(ValueError):
    """Bad input: the message is one clear sentence that names the rule, the value and the way out. Commands exit 2."""


class DatabaseGoneError(ConnectionError):
    """A database that did not come back in time. An OSError, as a full disk is: a search stops and can be resumed."""
