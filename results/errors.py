"""The one exception that stands for a person's mistake."""


class InputError(ValueError):
    """Bad input: the message is one clear sentence that names the rule, the value and the way out. Commands exit 2."""
