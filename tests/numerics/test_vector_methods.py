"""Where soft prompts stand, what they are trained through, and how several of them vote."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from peft import PeftModel, PromptEncoderConfig
from peft.tuners.p_tuning import PromptEncoder
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from toys import TEST_DEVICE, TOY_LABELS, TOY_TEMPLATE
from workbench.encoding import PromptEncoder as TextEncoder
from workbench.errors import ConfigError, ModelError
from workbench.fitting.base import FitContext, FittedMethod
from workbench.fitting.learning import embedding_rms, read_learned_vectors
from workbench.fitting.prediction import predict
from workbench.fitting.soft_prompts import POSITIONS, placed
from workbench.methods.catalog import make_method
from workbench.models.base import Conditioning, Prefix
from workbench.models.engine import Engine
from workbench.progress import Interrupted
from workbench.training.folder import PATH_FOLDER

QUICK = {"steps": 12, "batch_size": 4, "eval_every": 4, "learning_rate": 0.01}
WEIGHTS = "adapter_model.safetensors"


@pytest.fixture
def chat_context(tiny_engine, toy_task, tmp_path) -> FitContext:
    """Return a context whose prompts start with a chat header."""
    encoder = TextEncoder(tiny_engine.tokenizer, TOY_TEMPLATE, toy_task, chat=True)
    return FitContext(tiny_engine, encoder, seed=0, folder=tmp_path / "run")


def vectors_of(fitted: FittedMethod) -> torch.Tensor:
    """Return the learned vectors of a fitted soft prompt."""
    (found,) = (piece for piece in fitted.prefix.pieces if isinstance(piece, torch.Tensor))
    return found.cpu()


def probabilities(engine: Engine, fitted: FittedMethod, samples) -> np.ndarray:
    found = predict(engine, fitted, samples)
    return np.array([list(one.probabilities.values()) for one in found])


def at(context: FitContext, name: str) -> FitContext:
    return replace(context, folder=context.folder / name)


# Position


def expected_ids(position: str, start, text: tuple[int, ...]) -> tuple[int, ...]:
    """Return the prompt in which a text stands where the vectors should."""
    head, shared = start.head_ids, start.shared_ids
    return {
        "instead_of_instruction": head + text,
        "before_instruction": head + text + shared,
        "after_instruction": head + shared + text,
        "first": text + head + shared,
    }[position]


@pytest.mark.parametrize("position", POSITIONS)
def test_vectors_of_a_text_score_as_the_text_in_their_place(position, chat_context):
    engine, start = chat_context.engine, chat_context.encoder.start()
    text = chat_context.encoder.encode("A cup of tea.")
    own, choices = (5, 6, 7), [[(8,), (9, 10)]]
    prefix = placed(start, engine.forward.embed(text), position)

    found = engine.score([Conditioning(prefix, own)], choices)[0]

    plain = Conditioning(Prefix(), expected_ids(position, start, text) + own)
    np.testing.assert_allclose(
        found.logprobs, engine.score([plain], choices)[0].logprobs, atol=1e-5
    )
    assert start.head_ids


@pytest.mark.parametrize("position", POSITIONS)
def test_an_exported_prompt_answers_the_same_in_plain_peft_wherever_it_stands(
    position, chat_context, tiny_folder, tmp_path
):
    method = make_method("prompt_tuning", QUICK | {"position": position})
    fitted = method.fit(chat_context)
    method.save(chat_context, fitted, tmp_path / "adapter")

    base = AutoModelForCausalLM.from_pretrained(tiny_folder)
    plain = PeftModel.from_pretrained(base, tmp_path / "adapter")

    encoder = chat_context.encoder
    for sample in chat_context.task.test[:4]:
        own = encoder.own_ids(sample.fields, encoder.start())
        with torch.no_grad():
            logits = plain(input_ids=torch.tensor([own])).logits[0, -1].log_softmax(-1)
        row = fitted.condition(sample.fields)
        ours = chat_context.engine.score([row], [[(8,), (9,)]])[0].logprobs
        np.testing.assert_allclose(ours, [float(logits[8]), float(logits[9])], atol=1e-4)


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("name", ["prompt_tuning", "p_tuning"])
def test_only_the_learned_vectors_are_read_back(name, position, chat_context, tmp_path):
    method = make_method(name, QUICK | {"position": position})
    fitted = method.fit(chat_context)
    method.save(chat_context, fitted, tmp_path / "adapter")

    restored = method.restore(chat_context, tmp_path / "adapter")

    assert torch.equal(read_learned_vectors(chat_context, tmp_path / "adapter"), vectors_of(fitted))
    assert restored.prefix.digest == fitted.prefix.digest
    assert restored.prefix.num_tokens == len(
        load_file(tmp_path / "adapter" / WEIGHTS)["prompt_embeddings"]
    )


def test_a_file_that_does_not_say_what_was_learned_is_read_as_before(chat_context, tmp_path):
    folder = tmp_path / "adapter"
    method = make_method("prompt_tuning", QUICK)
    fitted = method.fit(chat_context)
    method.save(chat_context, fitted, folder)
    save_file(load_file(folder / WEIGHTS), folder / WEIGHTS)  # without metadata

    assert torch.equal(read_learned_vectors(chat_context, folder), vectors_of(fitted))


def test_vectors_of_a_prompt_that_stands_elsewhere_stay_vectors(chat_context, tmp_path):
    folder = tmp_path / "adapter"
    method = make_method("prompt_tuning", QUICK | {"position": "after_instruction"})
    fitted = method.fit(chat_context)
    method.save(chat_context, fitted, folder)

    elsewhere = make_method("prompt_tuning", {}).restore(chat_context, folder)

    samples = chat_context.task.test
    found = probabilities(chat_context.engine, elsewhere, samples)
    np.testing.assert_allclose(
        found, probabilities(chat_context.engine, fitted, samples), atol=1e-6
    )


@pytest.mark.parametrize("said", ["5:3", "0:99999", "a:b", "-1:3", "3"])
def test_a_file_that_says_what_cannot_be_is_refused(said, toy_context, tmp_path):
    folder = tmp_path / "adapter"
    method = make_method("prompt_tuning", QUICK | {"num_virtual_tokens": 6})
    method.save(toy_context, method.fit(toy_context), folder)
    tensors = load_file(folder / WEIGHTS)
    save_file(tensors, folder / WEIGHTS, metadata={"learned_vectors": said})

    with pytest.raises(ModelError) as caught:
        method.restore(toy_context, folder)

    assert str(caught.value) == (
        f"adapter folder {folder}, {WEIGHTS}: its metadata says learned_vectors {said!r}; a "
        "begin and an end within its 6 vectors are needed, as in 3:23. Export it again."
    )


# Reparametrisation


@pytest.mark.parametrize("init", ["instruction", "vocabulary", "random"])
def test_a_residual_prompt_starts_exactly_at_its_init(init, toy_context):
    options = QUICK | {"init": init, "num_virtual_tokens": 7, "reparametrisation": "residual"}
    method = make_method("prompt_tuning", options)

    method.fit(toy_context)

    first = load_file(toy_context.folder / PATH_FOLDER / "0000000.safetensors")
    assert torch.equal(first["prompt_embeddings"], method.initial_vectors(toy_context).cpu())


def test_the_residual_layers_learn_besides_the_vectors(toy_context):
    options = QUICK | {"reparametrisation": "residual", "bottleneck": 16, "patience": 0}

    make_method("prompt_tuning", options).fit(toy_context)

    stored = load_file(toy_context.folder / "checkpoint.safetensors")
    moved = {
        name: float((stored[f"now/{name}"] - stored[f"best/{name}"]).abs().max())
        for name in ("prompt_embeddings", "down.weight", "up.weight", "norm.weight")
    }
    seconds = [stored[f"adam/exp_avg_sq/{name}"] for name in moved]
    assert all(float(second.max()) > 0 for second in seconds)
    assert float(stored["now/norm.weight"].abs().max()) > 0


FORMULAS = {  # P = 6, D = 64 in the tiny model
    "plain": ("prompt_tuning", {}, 6 * 64),
    "residual": (
        "prompt_tuning",
        {"reparametrisation": "residual", "bottleneck": 16},
        6 * 64 + 2 * 64 * 16 + 16 + 3 * 64,
    ),
    "mlp": ("p_tuning", {}, 6 * 64 + 3 * (64 * 64 + 64)),
    "narrow mlp": (
        "p_tuning",
        {"hidden_size": 20},
        6 * 64 + (64 * 20 + 20) + (20 * 20 + 20) + (20 * 64 + 64),
    ),
    "lstm": (
        "p_tuning",
        {"encoder": "lstm", "hidden_size": 20},
        6 * 64
        + 8 * 20 * (64 + 20 + 2)
        + 8 * 20 * (3 * 20 + 2)
        + (4 * 20 * 20 + 2 * 20)
        + (2 * 20 * 64 + 64),
    ),
    "ensemble": ("prompt_ensemble", {"members": 2}, 2 * 6 * 64),
}


@pytest.mark.parametrize("case", FORMULAS)
def test_what_is_trained_follows_the_formula_and_vectors_alone_are_stored(case, toy_context):
    name, options, expected = FORMULAS[case]
    method = make_method(name, QUICK | {"num_virtual_tokens": 6} | options)

    fitted = method.fit(toy_context)

    assert fitted.cost.trained_parameters == expected == method.num_trainable(toy_context)
    assert fitted.cost.stored_bytes == 4 * 6 * 64 * options.get("members", 1)


@pytest.mark.parametrize("kind", ["mlp", "lstm"])
def test_the_exported_vectors_are_the_encoders_output(kind, toy_context, tmp_path):
    """The encoder is rebuilt in plain PEFT from the checkpoint's best parameters."""
    method = make_method("p_tuning", QUICK | {"encoder": kind, "num_virtual_tokens": 5})
    fitted = method.fit(toy_context)
    method.save(toy_context, fitted, tmp_path)
    config = PromptEncoderConfig(
        num_virtual_tokens=5,
        token_dim=64,
        num_transformer_submodules=1,
        encoder_reparameterization_type=kind.upper(),
        encoder_hidden_size=64,
    )
    encoder, slots = PromptEncoder(config), torch.arange(5)[None]

    def output(prefix: str, tensors: dict[str, torch.Tensor]) -> torch.Tensor:
        found = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
        encoder.load_state_dict(found)
        with torch.no_grad():
            return encoder(slots)[0]

    best = output("best/", load_file(toy_context.folder / "checkpoint.safetensors"))

    exported = load_file(tmp_path / WEIGHTS)["prompt_embeddings"]
    factor = float(exported.norm() / best.norm())
    rounding = 1.3e-6 if TEST_DEVICE == "cpu" else 1e-2  # an LSTM there multiplies in TF32
    torch.testing.assert_close(exported, factor * best, rtol=rounding, atol=rounding)
    start = method.initial_vectors(toy_context).cpu()
    assert float(start.square().mean().sqrt()) == pytest.approx(embedding_rms(toy_context))
    assert not torch.equal(exported, start)


def test_a_stopped_residual_run_ends_bit_equal_when_resumed(toy_context):
    method = make_method("prompt_tuning", QUICK | {"reparametrisation": "residual"})
    whole = method.fit(at(toy_context, "whole"))
    asked = iter([False] * 6 + [True])
    parts = at(toy_context, "parts")

    with pytest.raises(Interrupted):
        method.fit(replace(parts, should_stop=lambda: next(asked)))

    assert torch.equal(vectors_of(method.fit(parts)), vectors_of(whole))


# Ensembles


def ensemble(**options):
    return make_method("prompt_ensemble", QUICK | {"num_virtual_tokens": 6} | options)


def test_an_ensemble_of_one_is_prompt_tuning_with_that_seed(toy_context):
    context = replace(toy_context, seed=5)
    options = QUICK | {"num_virtual_tokens": 6, "init": "random"}

    one = make_method("prompt_ensemble", options | {"members": 1}).fit(at(context, "one"))
    alone = make_method("prompt_tuning", options).fit(at(context, "alone"))

    assert torch.equal(vectors_of(one.voters[0]), vectors_of(alone))
    samples = context.task.test
    np.testing.assert_array_equal(
        probabilities(context.engine, one, samples), probabilities(context.engine, alone, samples)
    )
    lines = [(context.folder / name / "history.jsonl").read_text() for name in ("one", "alone")]
    losses = [[e.get("loss") for e in map(json.loads, text.splitlines())] for text in lines]
    assert losses[0] == losses[1]


def test_ensembles_of_two_seeds_share_no_members(toy_context):
    prompts = [
        vectors_of(voter)
        for seed in (0, 1)
        for voter in ensemble(init="random", members=2)
        .fit(replace(at(toy_context, str(seed)), seed=seed))
        .voters
    ]

    assert len({prompt.numpy().tobytes() for prompt in prompts}) == 4


def voting(context: FitContext, seeds) -> FittedMethod:
    """Return an ensemble of random prompts, whose answers differ: their usual label is no prior."""
    start, engine = context.encoder.start(), context.engine
    voters = []
    for seed in seeds:
        vectors = torch.randn(4, 64, generator=torch.Generator().manual_seed(seed))
        voters.append(FittedMethod(context.encoder, start, Prefix((vectors,))))
    found = [probabilities(engine, voter, context.task.test) for voter in voters]
    prior = np.median(np.log(np.concatenate(found)), axis=0)
    voters = [replace(voter, log_prior=prior) for voter in voters]
    return replace(voters[0], voters=tuple(voters))


def test_the_majority_answers_and_probabilities_are_the_mean(toy_context):
    engine, samples = toy_context.engine, toy_context.task.test
    fitted = voting(toy_context, range(5))
    alone = [predict(engine, voter, samples) for voter in fitted.voters]

    together = predict(engine, fitted, samples)

    seen = set()
    for number, found in enumerate(together):
        ballots = [one[number] for one in alone]
        counts = {label: sum(b.answer == label for b in ballots) for label in TOY_LABELS}
        assert found.answer == max(counts, key=counts.__getitem__)
        assert found.vote_share == counts[found.answer] / 5
        mean = np.mean([list(b.probabilities.values()) for b in ballots], axis=0)
        np.testing.assert_allclose(list(found.probabilities.values()), mean, atol=1e-5)
        assert found.prompt_tokens == sum(b.prompt_tokens for b in ballots)
        assert found.sampled_answers == tuple(b.answer for b in ballots)
        seen.add(found.vote_share)
    assert len(seen) > 1  # they do not agree all the time


def test_a_tie_goes_to_the_higher_mean_probability(toy_context):
    engine, samples = toy_context.engine, toy_context.task.test
    ties = 0
    for seeds in ((0, 1), (2, 3), (0, 3), (1, 2), (4, 5), (0, 5)):
        for found in predict(engine, voting(toy_context, seeds), samples):
            assert found.answer == max(found.probabilities, key=found.probabilities.__getitem__)
            ties += found.vote_share == 0.5
    assert ties > 0


def test_the_order_of_the_members_changes_no_answer(toy_context):
    engine, samples = toy_context.engine, toy_context.task.test

    one = predict(engine, voting(toy_context, (0, 1, 2, 3)), samples)
    other = predict(engine, voting(toy_context, (3, 1, 0, 2)), samples)

    assert [p.answer for p in one] == [p.answer for p in other]
    for left, right in zip(one, other, strict=True):
        assert left.probabilities == pytest.approx(right.probabilities, abs=1e-6)


def test_all_members_of_an_item_are_rows_of_one_batch(toy_context, monkeypatch):
    fitted = voting(toy_context, range(3))
    batches: list[int] = []
    original = Engine._score_batch

    def counted(self, rows, choices, states):
        batches.append(len(rows))
        return original(self, rows, choices, states)

    monkeypatch.setattr(Engine, "_score_batch", counted)
    predict(toy_context.engine, fitted, toy_context.task.test[:4])

    assert batches == [12]


def test_every_member_is_saved_in_pefts_format_and_restored(toy_context, tmp_path):
    method = ensemble()
    fitted = method.fit(toy_context)
    method.save(toy_context, fitted, tmp_path)

    restored = method.restore(toy_context, tmp_path)

    for number, (one, other) in enumerate(zip(fitted.voters, restored.voters, strict=True)):
        assert torch.equal(vectors_of(one), vectors_of(other))
        member = make_method("prompt_tuning", {}).restore(
            toy_context, tmp_path / f"member_{number}"
        )
        assert torch.equal(vectors_of(member), vectors_of(one))


def test_progress_counts_all_members(toy_context):
    told: list[tuple[int, int]] = []
    context = replace(toy_context, progress=lambda event: told.append((event.done, event.total)))

    ensemble(members=2).fit(context)

    assert told == [(step, 24) for step in range(1, 25)]


def test_an_ensemble_has_no_vote_on_texts(toy_context):
    task = replace(toy_context.task, kind="generation", labels=())
    encoder = replace(toy_context.encoder, task=task)

    with pytest.raises(ConfigError, match="prompt_ensemble: task 'toy' asks for a text"):
        ensemble().fit(replace(toy_context, encoder=encoder))
