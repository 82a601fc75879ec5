"""Which examples of a batch run at once."""

import pytest

from workbench.batches import PASS_TOKENS, Example, micro_batches, rows_of_a_pass


def batch_of(*lengths):
    return [Example((7,) * length, (9,)) for length in lengths]


@pytest.mark.parametrize(
    ("lengths", "size", "shared", "expected"),
    [
        ((10,) * 8, None, 20, [8]),  # 100 positions
        ((10,) * 8, 8, 20, [8]),
        ((10,) * 8, 100, 20, [8]),
        ((10,) * 8, 3, 20, [3, 3, 2]),
        ((10,) * 9, 4, 20, [3, 3, 3]),  # as even as can be, not 4, 4, 1
        ((500,) * 8, None, 20, [4, 4]),
        ((500,) * 8, None, 600, [2, 2, 2, 2]),
        ((10, 10, 10, 2000), None, 20, [1, 1, 1, 1]),  # the longest decides
        ((5000,) * 3, None, 20, [1, 1, 1]),  # a row is never cut
        ((10,), None, PASS_TOKENS + 1, [1]),
    ],
)
def test_a_batch_is_cut_by_rows_or_else_by_positions(lengths, size, shared, expected):
    batch = batch_of(*lengths)

    parts = micro_batches(batch, size, shared)

    assert [len(part) for part in parts] == expected
    assert [example for part in parts for example in part] == batch


@pytest.mark.parametrize("own", [1, 60, 500, 2027, 2028, 2029, 9000])
def test_a_pass_is_as_large_as_can_be_and_never_empty(own):
    rows = rows_of_a_pass(own, 20)

    assert rows == 1 or 20 + rows * own <= PASS_TOKENS
    assert 20 + (rows + 1) * own > PASS_TOKENS
