"""Who sees whom, and attention over it, against squares of tokens and plain attention in float64.

Tolerance: 1e-5 of outputs of unit size, which float32 products of these lengths keep.
"""

import random

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM

from workbench.models.attention import RowBlocks, grouped_attention, use_grouped_attention
from workbench.models.base import Conditioning, Prefix
from workbench.models.engine import Engine
from workbench.models.loading import LoadedBase
from workbench.models.prefixed_states import PrefixedStates
from workbench.models.row_layout import LazyMask, row_layout
from workbench.models.split_attention import QUERY_BLOCK, SharedStates, split_attention
from workbench.models.token_tree import TokenTree

HEADS, GROUPS, WIDTH = 2, 3, 8
LENGTHS = (1, 2, 40, QUERY_BLOCK - 1, QUERY_BLOCK, QUERY_BLOCK + 1, 2 * QUERY_BLOCK + 3)
CPU = torch.device("cpu")


def random_tree(size, draw, branches=4):
    """Return a chain of a size with branches off its end, of which some share their start."""
    tree = TokenTree.chain(range(size))
    for _ in range(branches):
        node = size - 1
        for _ in range(draw.randint(1, 4)):
            node = tree.extend(node, draw.randint(1000, 1002))
    return tree


def test_numbers_say_who_sees_whom():
    draw = random.Random(3)
    for _ in range(30):
        size = draw.randint(1, 12)
        parents = [draw.randint(-1, node - 1) for node in range(size)]
        tree = TokenTree(list(range(size)), parents)
        found = row_layout([tree.spans()], [2], CPU).block(slice(0, size), slice(0, size + 2), None)
        assert torch.equal(found[0, 0], expected_mask([tree], [2], size, None)[0])


def depths_of(tree):
    depths = []
    for parent in tree.parents:
        depths.append(0 if parent < 0 else depths[parent] + 1)
    return depths


def expected_mask(trees, prefixes, width, window):
    """Return (B, T, P + T) bool from ancestors and positions, token by token."""
    longest = max(prefixes)
    mask = torch.zeros(len(trees), width, longest + width, dtype=torch.bool)
    for row, (tree, prefix) in enumerate(zip(trees, prefixes, strict=True)):
        depths = depths_of(tree)
        for query in range(len(tree)):
            position = prefix + depths[query]
            key = query
            while key >= 0:
                if window is None or position - (prefix + depths[key]) < window:
                    mask[row, query, longest + key] = True
                key = tree.parents[key]
            for column in range(longest - prefix, longest):
                if window is None or position - (column - (longest - prefix)) < window:
                    mask[row, query, column] = True
    return mask


@pytest.mark.parametrize("window", [None, 3, 7])
def test_a_masks_blocks_are_the_square(window):
    draw = random.Random(4)
    trees = [random_tree(size, draw) for size in (9, 4, 12)] + [TokenTree.chain(range(6))]
    prefixes, width = [5, 0, 7, 7], max(map(len, trees))
    mask = LazyMask(row_layout([tree.spans() for tree in trees], prefixes, CPU), window)
    expected = expected_mask(trees, prefixes, width, window)
    for row, tree in enumerate(trees):  # of padding nothing is asked but to look at something
        assert torch.equal(mask.whole()[row, 0, : len(tree)], expected[row, : len(tree)])
    assert bool(mask.whole().any(-1).all())
    queries = slice(3, 8)
    keys = mask.row_layout.keys_of(queries, mask.window)
    assert not expected[:, queries, : keys.start].any()
    assert not expected[:, queries, keys.stop :].any()


def plain(query, key, value, mask):
    """Return (B, T, heads, width) in float64: the formula, and nothing else."""
    keys, values = (one.double().repeat_interleave(GROUPS, 1) for one in (key, value))
    scores = query.double() @ keys.transpose(-1, -2) / WIDTH**0.5
    weights = scores.masked_fill(~mask[:, None], -torch.inf).softmax(-1)
    return (weights @ values).transpose(1, 2)


def states(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).requires_grad_()


@pytest.mark.parametrize("window", [None, 5, QUERY_BLOCK + 20])
@pytest.mark.parametrize("kind", ["chains", "branches"])
@pytest.mark.parametrize("length", LENGTHS)
def test_rows_of_mixed_prefixes_attend_as_the_formula_says(length, kind, window):
    draw = random.Random(length)
    sizes = [length, max(1, length // 2), length, max(1, length - 1)]
    trees = [
        random_tree(size, draw) if kind == "branches" else TokenTree.chain(range(size))
        for size in sizes
    ]
    prefixes, width = [11, 0, 11, 6], max(map(len, trees))
    mask = LazyMask(row_layout([tree.spans() for tree in trees], prefixes, CPU), window)
    query = states(4, HEADS * GROUPS, width, WIDTH)
    own = [states(4, HEADS, width, WIDTH, seed=seed) for seed in (1, 2)]
    long = [states(HEADS, 11, WIDTH, seed=seed) for seed in (3, 4)]
    short = [states(HEADS, 6, WIDTH, seed=seed) for seed in (5, 6)]
    rows = torch.tensor([0, 2]), torch.tensor([3])
    key, value = (
        PrefixedStates(own[i], [(rows[0], long[i]), (rows[1], short[i])], 11) for i in (0, 1)
    )

    found, _ = grouped_attention(torch.nn.Module(), query, key, value, mask)

    parts = [
        torch.stack(
            [
                long[i],
                torch.zeros(HEADS, 11, WIDTH),
                long[i],
                torch.nn.functional.pad(short[i], (0, 0, 5, 0)),
            ]
        )
        for i in (0, 1)
    ]
    whole = [torch.cat([part, one], 2) for part, one in zip(parts, own, strict=True)]
    seen = expected_mask(trees, prefixes, width, window)
    real = torch.tensor([[column < len(tree) for column in range(width)] for tree in trees])
    seen[~real] = True
    expected = plain(query, *whole, seen)
    torch.testing.assert_close(found[real].double(), expected[real], rtol=0, atol=1e-5)
    drawn = torch.randn(found[real].shape, generator=torch.Generator().manual_seed(9))
    learned = [query, *own, *long, *short]
    for one, other in zip(
        torch.autograd.grad((found[real] * drawn).sum(), learned),
        torch.autograd.grad((expected[real] * drawn).sum(), learned),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("window", [None, 5])
@pytest.mark.parametrize("prefix", [0, 4, QUERY_BLOCK + 1])
@pytest.mark.parametrize("length", [1, 7, QUERY_BLOCK + 1])
def test_a_tree_of_rows_attends_as_its_square_says(length, prefix, window):
    tree = TokenTree.chain(range(prefix))
    for _ in range(3):
        tree.append(prefix - 1, [0] * length)
    total = len(tree)
    mask = LazyMask(row_layout([tree.spans()], [0], CPU), window)
    query = states(1, HEADS * GROUPS, total, WIDTH)
    key, value = (states(1, HEADS, total, WIDTH, seed=seed) for seed in (1, 2))

    found, _ = grouped_attention(
        torch.nn.Module(), query, key, value, mask, row_blocks=RowBlocks(prefix, 3, length)
    )

    expected = plain(query, key, value, expected_mask([tree], [0], total, window))
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-5)
    drawn = torch.randn(found.shape, generator=torch.Generator().manual_seed(9))
    for one, other in zip(
        torch.autograd.grad((found * drawn).sum(), [query, key, value]),
        torch.autograd.grad((expected * drawn).sum(), [query, key, value]),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_a_lazy_tensor_never_loses_a_gradient():
    own, shared = states(1, HEADS, 3, WIDTH), states(HEADS, 2, WIDTH, seed=1)
    keys = PrefixedStates(own, [(None, shared)], 2)

    (keys * 2).sum().backward()

    assert torch.equal(own.grad, torch.full_like(own, 2))
    assert torch.equal(shared.grad, torch.full_like(shared, 2))
    with pytest.raises(RuntimeError, match="would lose the gradients"):  # noqa: SIM117
        with torch._C.DisableTorchFunctionSubclass():
            torch.mul(keys, 2)


class Largest(TorchDispatchMode):
    """Remembers the most elements that a tensor had."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for one in tree_leaves(made):
            if isinstance(one, torch.Tensor):
                held = one.untyped_storage().nbytes() // one.element_size()
                self.elements = max(self.elements, held)
        return made


SIZES = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 8192,
    "initializer_range": 0.2,
}


@pytest.mark.parametrize("family", ["llama", "mistral"])
def test_long_texts_need_no_square_of_their_tokens(family, tiny_base):
    vocabulary = len(tiny_base.tokenizer)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        if family == "llama":
            model = LlamaForCausalLM(LlamaConfig(vocab_size=vocabulary, **SIZES))
        else:
            config = MistralConfig(vocab_size=vocabulary, sliding_window=300, **SIZES)
            model = MistralForCausalLM(config)
    use_grouped_attention(model)  # as loading does
    info = tiny_base.info
    engine = Engine(LoadedBase(model.eval(), tiny_base.tokenizer, info))
    object.__setattr__(engine, "info", type(info)(**{**vars(info), "context_length": 8192}))
    length = 4096
    draw = random.Random(5)
    text = tuple(draw.randrange(1, vocabulary) for _ in range(length))
    rows = [Conditioning(Prefix((text[:9],)), text[9:])]

    with Largest() as largest, torch.inference_mode():
        score = engine.score(rows, [[(5,), (6, 7), (6, 8)]])[0]
        trained = engine.run_as_tree(Prefix((text[:9],)), [text[9:], text[10:]], None)

    assert largest.elements < length * length / 2
    model.set_attn_implementation("eager")
    with torch.inference_mode():
        logits = model(torch.tensor([[*text, 6]])).logits[0].log_softmax(-1)
        ours = engine.forward.logits(trained[0]).log_softmax(-1)
    expected = [
        float(logits[-2, 5]),
        float(logits[-2, 6] + logits[-1, 7]),
        float(logits[-2, 6] + logits[-1, 8]),
    ]
    assert score.logprobs.tolist() == pytest.approx(expected, abs=1e-4)
    torch.testing.assert_close(ours, logits[9:-1], rtol=0, atol=1e-4)


@pytest.mark.parametrize("has_prefix", [False, True])
@pytest.mark.parametrize("place", range(5))
def test_attention_takes_heads_in_any_order(place, has_prefix):
    """The kernel takes it for granted that a head's numbers lie side by side, and says nothing."""
    draw = torch.Generator().manual_seed(0)
    query, key, value = (
        torch.randn(2, heads, 9, WIDTH, generator=draw) for heads in (HEADS * GROUPS, HEADS, HEADS)
    )
    keys, values = (torch.randn(HEADS, 4, WIDTH, generator=draw) for _ in range(2))
    given = [query, key, value, keys, values]

    def attended(tensors):
        *own, keys, values = tensors
        shared = [SharedStates(None, keys, values)] if has_prefix else []
        return split_attention(*own, shared, None, None)

    expected = attended(given)
    given[place] = given[place].transpose(-2, -1).contiguous().transpose(-2, -1)
    assert torch.allclose(attended(given), expected, atol=1e-5)
