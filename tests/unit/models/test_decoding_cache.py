"""Keys and values of rows that are continued: handed out once, and in bounded memory."""

from copy import deepcopy

import pytest
import torch

from workbench.models import engine as engine_module
from workbench.models.base import Conditioning, GenerationOptions, Prefix
from workbench.models.token_tree import TokenTree


def test_rows_are_continued_from_one_cache_or_from_copies_of_it(tiny_engine):
    """A second time they would be moved once more, and every number of shorter rows be wrong."""
    trees = [TokenTree.chain([5, 6, 7, 8, 9]), TokenTree.chain([5, 6])]
    token = torch.tensor([11, 12])
    with torch.inference_mode():
        run = tiny_engine.run(trees, [None] * 2, [None] * 2, room=1)
        cache = run.decoding_cache()
        first, second = (tiny_engine.forward.step(token, deepcopy(cache)) for _ in range(2))
        with pytest.raises(ValueError, match="copy them"):
            run.decoding_cache()
    assert torch.equal(first, second)


def test_rows_without_room_cannot_be_continued(tiny_engine):
    with torch.inference_mode(), pytest.raises(ValueError, match="without room"):
        tiny_engine.run([TokenTree.chain([5, 6])], [None], [None]).decoding_cache()


def test_long_prefixes_and_long_texts_in_one_call_take_no_more_memory(tiny_engine, monkeypatch):
    """A batch has the columns of its longest prefix beside those of its longest text."""
    limit, run, taken = 120 * tiny_engine.forward.cache_bytes_per_token, tiny_engine.run, []
    monkeypatch.setattr(engine_module, "_MAX_CACHE_BYTES", limit)

    def noted(*given, **options):
        found = run(*given, **options)
        layers = found.cache.layers
        taken.append(sum(part.nbytes for layer in layers for part in layer._buffers))
        return found

    monkeypatch.setattr(tiny_engine, "run", noted)
    rows = [
        Conditioning(Prefix((tuple(range(5, 35)),)), (7, 8)),
        Conditioning(Prefix(), tuple(range(5, 37))),
    ] * 3
    tiny_engine.generate(rows, GenerationOptions(max_new_tokens=3))

    assert len(taken) > 1
    assert max(taken) <= limit
