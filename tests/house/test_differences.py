"""What is said of two configs that differ: enough to mend it, and no more."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.differences import differences

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=12) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)
documents = st.dictionaries(st.text(max_size=3), json_values, max_size=4)


@pytest.mark.parametrize(
    ("there", "here", "said"),
    [
        ({"steps": 10, "batch": 8}, {"steps": 10, "batch": 16}, "batch: 8 there, 16 here"),
        (
            {"optimiser": {"steps": 1, "warmup": 2}, "a": 1},
            {"optimiser": {"steps": 3, "warmup": 2}},
            "a: 1 there, None here; optimiser.steps: 1 there, 3 here",
        ),
        ({"names": ["cat"]}, {"names": ["owl"]}, "names: ['cat'] there, ['owl'] here"),
        (
            {"names": [*"abcdefghij"]},
            {"names": [*"abcdefghik"]},
            "names: ['j'] only there, ['k'] only here",
        ),
        (
            {"names": [*"abcdefghij"]},
            {"names": [*"jabcdefghi"]},
            "names: in another order, or some of it more than once",
        ),
        ({"vae": "0123456789abcdef" * 4}, {"vae": 1}, "vae: '0123456789ab...' there, 1 here"),
    ],
)
def test_only_what_differs_is_named(there: dict[str, object], here: dict[str, object], said: str) -> None:
    assert differences(there, here) == said


@given(documents, documents)
def test_it_is_silent_only_where_nothing_differs(there: dict[str, object], here: dict[str, object]) -> None:
    same = all(there.get(key) == here.get(key) for key in {*there, *here})
    assert (differences(there, here) == "") == same
