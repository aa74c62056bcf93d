"""Options that are text to typer."""

import pytest

from results.errors import InputError
from search.run import parse_seeds


@pytest.mark.parametrize(
    ("text", "seeds"), [("1", (0,)), ("3", (0, 1, 2)), ("5,7", (5, 7)), ("5,", (5,)), ("7,5,", (7, 5))]
)
def test_seeds_are_a_number_or_a_list(text, seeds):
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", ",", "3,,4", "-1", "1.5", "3,3", "0", "1001", "a"])
def test_what_is_neither_is_refused(text):
    with pytest.raises(InputError, match='"--seeds" must be a number of seeds'):
        parse_seeds(text)
