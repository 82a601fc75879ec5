"""The prefix cache stays within its budget and never computes what it holds."""

import torch

from workbench.models.base import PrefixStates
from workbench.models.prefix_cache import PrefixCache


def states(num_tokens: int) -> PrefixStates:
    keys = (torch.zeros(1, num_tokens, 4),)
    return PrefixStates(keys, keys)


def test_it_computes_once_and_drops_the_least_recently_used():
    cache = PrefixCache(budget_bytes=states(10).num_bytes * 2)
    for name in ("a", "b", "a", "c", "a"):
        cache.get((name, None, 0), lambda: states(10))

    assert cache.num_computed == 3
    assert cache.num_bytes == states(10).num_bytes * 2
    cache.get(("b", None, 0), lambda: states(10))
    assert cache.num_computed == 4


def test_what_exceeds_the_budget_is_returned_and_not_held():
    cache = PrefixCache(budget_bytes=10)

    assert cache.get(("a", None, 0), lambda: states(10)).num_tokens == 10
    assert cache.num_bytes == 0


def test_a_changed_adapter_is_another_key():
    cache = PrefixCache(budget_bytes=1 << 20)
    cache.get(("a", "lora", 0), lambda: states(1))
    cache.get(("a", "lora", 1), lambda: states(1))

    assert cache.num_computed == 2
