"""Batches run in parts, and layers run again in backward: the same loss and gradients."""

import json
from dataclasses import replace

import pytest
import torch
from test_training_identities import QUICK, TRAINED, context_of, losses, scores_of

from toys import TEST_DEVICE
from workbench.batches import Example
from workbench.errors import ConfigError, ModelError
from workbench.methods.catalog import make_method
from workbench.models.base import Prefix
from workbench.progress import Interrupted
from workbench.training import loop
from workbench.training.loop import Trainable, TrainingRequest, train
from workbench.training.options import TrainingOptions
from workbench.training.score import DevScore

# Answers of different lengths, which a mean over all tokens would weigh otherwise.
EXAMPLES = [
    Example((5, 6, 7), (8, 9)), Example((4, 3, 2, 1), (7,)), Example((9, 9), (1, 2, 3, 4)),
    Example((11, 12, 13, 14, 15), (3,)), Example((20,), (21, 22)),
]  # fmt: skip


class GradientsSeen:
    """A companion that keeps the gradients of each step."""

    def __init__(self, parameters):
        self.parameters, self.found = parameters, []

    def after_step(self, step):
        self.found.append({name: p.grad.clone() for name, p in self.parameters.items()})

    def state(self):
        return {}

    def restore(self, state):
        pass


def one_step(engine, folder, trainable, **options):
    """Return the loss of one step over all examples, and its gradients before clipping."""
    request = TrainingRequest(
        trainable,
        EXAMPLES,
        TrainingOptions(
            steps=1, batch_size=len(EXAMPLES), learning_rate=1e-8, clip_norm=0.0, **options
        ),
        0,
        lambda: DevScore(0.0, 0.0, 1),
        folder,
    )
    train(engine, request)
    seen = trainable.companion.found
    assert len(seen) == 1  # a companion acts once for the whole batch
    return json.loads((folder / "history.jsonl").read_text().splitlines()[0])["loss"], seen[0]


def soft_prompt(engine):
    """Return vectors to train, with a penalty, and a companion that keeps their gradients."""
    vectors = torch.nn.Parameter(engine.forward.embed((30, 31, 32)).detach().clone())
    return Trainable(
        {"prompt": vectors},
        lambda: Prefix((vectors,)),
        penalty=lambda: penalty(vectors),
        companion=GradientsSeen({"prompt": vectors}),
    )


def penalty(vectors):
    return 0.5 * vectors.square().sum()


def plain_step(engine, vectors):
    """Return loss and gradient by transformers and autograd, one example at a time."""
    model, own = engine.forward.model, vectors.detach().clone().requires_grad_()
    found = []
    for example in EXAMPLES:
        tokens = torch.tensor(example.token_ids + example.answer_ids, device=TEST_DEVICE)
        inputs = torch.cat([own, model.get_input_embeddings()(tokens)])[None]
        answers = len(example.answer_ids)
        logits = model(inputs_embeds=inputs).logits[0, -answers - 1 : -1]
        found.append(torch.nn.functional.cross_entropy(logits, tokens[-answers:]))
    loss = torch.stack(found).mean() + penalty(own)
    return loss.item(), torch.autograd.grad(loss, own)[0]


@pytest.mark.parametrize("size", [None, 1, 2, 3, 64])
def test_a_batch_in_parts_has_the_loss_and_gradient_of_plain_autograd(tiny_engine, tmp_path, size):
    trainable = soft_prompt(tiny_engine)
    loss, gradient = plain_step(tiny_engine, trainable.parameters["prompt"])

    found = one_step(tiny_engine, tmp_path, trainable, micro_batch_size=size)

    assert found[0] == pytest.approx(loss, rel=1e-5)
    torch.testing.assert_close(found[1]["prompt"], gradient, rtol=1e-4, atol=1e-6)


def test_the_split_that_nobody_asks_for_changes_no_gradient(tiny_engine, tmp_path, monkeypatch):
    trainable = soft_prompt(tiny_engine)
    loss, gradient = plain_step(tiny_engine, trainable.parameters["prompt"])
    sizes = []
    real = loop.answer_loss

    def watched(engine, prefix, adapter, batch, **options):
        sizes.append(len(batch))
        return real(engine, prefix, adapter, batch, **options)

    monkeypatch.setattr(loop, "answer_loss", watched)
    monkeypatch.setattr("workbench.batches.PASS_TOKENS", 15)  # 3 vectors and 2 rows of 5

    found = one_step(tiny_engine, tmp_path, trainable)

    assert sizes == [2, 2, 1]
    assert found[0] == pytest.approx(loss, rel=1e-5)
    torch.testing.assert_close(found[1]["prompt"], gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("parts", [{}, {"micro_batch_size": 2}], ids=["whole", "in parts"])
@pytest.mark.parametrize("name", TRAINED)
def test_layers_that_are_run_again_give_the_same_to_the_last_bit(
    name, parts, tiny_folder, tmp_path, toy_task
):
    options = QUICK | parts | ({"dropout": 0.3} if name in ("lora", "dora", "adalora") else {})
    kept = context_of(tiny_folder, tmp_path / "kept", toy_task)
    expected = make_method(name, options).fit(kept)
    again = context_of(tiny_folder, tmp_path / "again", toy_task)

    found = make_method(name, options | {"gradient_checkpointing": True}).fit(again)

    assert scores_of(again.engine, found) == scores_of(kept.engine, expected)
    assert losses(tmp_path / "again") == losses(tmp_path / "kept")


def test_layers_are_run_again_where_that_is_asked_for_and_nowhere_else(tiny_engine, tmp_path):
    runs = []
    layers = tiny_engine.forward.model.get_decoder().layers
    layers[0].mlp.register_forward_pre_hook(lambda *_: runs.append(1))

    for wanted, times in ((False, 1), (True, 2)):
        runs.clear()
        one_step(
            tiny_engine, tmp_path / str(wanted), soft_prompt(tiny_engine),
            gradient_checkpointing=wanted,
        )  # fmt: skip
        assert len(runs) == times

    assert not any("forward" in vars(layer) for layer in layers)


def test_a_base_whose_layers_cannot_be_run_again_is_refused(tiny_engine, tmp_path, monkeypatch):
    monkeypatch.setattr("workbench.models.recomputing.GradientCheckpointingLayer", torch.nn.GRU)

    with pytest.raises(ModelError, match="Leave the option out, and use a smaller micro_batch"):
        one_step(tiny_engine, tmp_path, soft_prompt(tiny_engine), gradient_checkpointing=True)


@pytest.mark.parametrize("name", TRAINED)
def test_a_sparing_run_killed_and_started_again_ends_bit_equal(
    name, tiny_folder, tmp_path, toy_task
):
    options = QUICK | {"micro_batch_size": 3, "gradient_checkpointing": True}
    whole = context_of(tiny_folder, tmp_path / "whole", toy_task)
    expected = make_method(name, options).fit(whole)
    steps = iter(range(100))
    broken = context_of(tiny_folder, tmp_path / "broken", toy_task)
    broken = replace(broken, should_stop=lambda: next(steps) >= 5)
    with pytest.raises(Interrupted):
        make_method(name, options).fit(broken)

    again = context_of(tiny_folder, tmp_path / "broken", toy_task)
    resumed = make_method(name, options).fit(again)

    assert scores_of(again.engine, resumed) == scores_of(whole.engine, expected)
    assert losses(tmp_path / "broken") == losses(tmp_path / "whole")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"micro_batch_size": 0}, "0 is out of bounds; allowed: 1 to 1,024"),
        ({"micro_batch_size": "half"}, "'half' is a str, int or null is needed"),
        ({"gradient_checkpointing": "perhaps"}, "'perhaps' is a str, bool is needed"),
    ],
)
def test_an_option_that_cannot_be_is_named(options, message):
    with pytest.raises(ConfigError) as caught:
        make_method("lora", options)

    assert str(caught.value) == f"methods.lora.{next(iter(options))}: {message}"
