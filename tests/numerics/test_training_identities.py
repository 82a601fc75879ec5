"""Training: exact gradients, resuming, and adapters that plain PEFT reads and writes."""

import itertools
import json

import bitsandbytes as bnb
import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModel, PromptTuningConfig, TaskType, get_peft_model
from transformers import AutoModelForCausalLM

from toys import TEST_DEVICE, TOY_TEMPLATE, open_tiny
from workbench.batches import Example
from workbench.encoding import PromptEncoder
from workbench.errors import ModelError
from workbench.fitting.base import FitContext
from workbench.fitting.learning import training_examples
from workbench.fitting.prediction import predict
from workbench.methods.catalog import METHODS, make_method, method_class
from workbench.models.base import Conditioning, Prefix
from workbench.models.engine import Engine
from workbench.models.quantised_layers import base_hash, packed_layers
from workbench.progress import Interrupted, stopped_by
from workbench.training.loop import Trainable, TrainingRequest, train
from workbench.training.loss import answer_loss
from workbench.training.options import TrainingOptions, learning_rate_at
from workbench.training.score import DevScore

TRAINED = tuple(name for name in METHODS if issubclass(method_class(name), TrainingOptions))
QUICK = {"steps": 12, "batch_size": 4, "eval_every": 4, "learning_rate": 0.01}


def context_of(folder, tmp, toy_task, *, precision="fp32", seed=0) -> FitContext:
    engine = Engine(open_tiny(folder, precision))
    encoder = PromptEncoder(engine.tokenizer, TOY_TEMPLATE, toy_task)
    return FitContext(engine, encoder, seed=seed, folder=tmp)


def gradient_of_prompt(engine, encoder) -> torch.Tensor:
    """Return the gradient of a soft prompt equal to the instruction's embeddings."""
    start = encoder.start()
    vectors = torch.nn.Parameter(engine.forward.embed(start.shared_ids))
    batch = training_examples(FitContext(engine, encoder, 0, None), start)[:4]
    answer_loss(engine, Prefix((vectors,)), None, batch).backward()
    return vectors.grad


def infer(engine, encoder) -> None:
    """Run a few forward passes without gradients, which is what repacks unguarded weights."""
    fitted = make_method("zero_shot", {}).fit(FitContext(engine, encoder, 0, None))
    predict(engine, fitted, encoder.task.test)
    with torch.no_grad():
        engine.forward.model.eval()(torch.tensor([[1, 2, 3]], device=TEST_DEVICE))


@pytest.fixture
def supports_packing(monkeypatch):
    """Pretend that the processor has AVX512-BF16, so that the trap exists wherever tests run."""
    original = bnb.nn.Linear4bit.__init__

    def init(self, *args, **kwargs):
        original(self, *args, **kwargs)
        self.support_avx512bf16_for_cpu = True

    monkeypatch.setattr(bnb.nn.Linear4bit, "__init__", init)


@pytest.mark.usefixtures("supports_packing", "kept_weights")
def test_gradients_after_inference_equal_those_of_a_fresh_model(tiny_folder, tmp_path, toy_task):
    fresh = context_of(tiny_folder, tmp_path, toy_task, precision="nf4")
    used = context_of(tiny_folder, tmp_path, toy_task, precision="nf4")
    infer(used.engine, used.encoder)

    expected = gradient_of_prompt(fresh.engine, fresh.encoder)
    found = gradient_of_prompt(used.engine, used.encoder)

    assert packed_layers(used.engine.forward.model) == []
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


@pytest.mark.usefixtures("supports_packing")
def test_without_the_guard_training_refuses_repacked_weights(tiny_folder, tmp_path, toy_task):
    context = context_of(tiny_folder, tmp_path, toy_task, precision="nf4")
    if not bnb.nn.Linear4bit(64, 64).support_avx512bf16_for_cpu:
        pytest.skip("bitsandbytes has no packed layout here")
    for module in context.engine.forward.model.modules():
        if isinstance(module, bnb.nn.Linear4bit):
            module.__class__ = bnb.nn.Linear4bit  # with the forward pass that repacks
    with torch.no_grad():
        try:
            context.engine.forward.model(torch.tensor([[1, 2, 3]]))
        except (RuntimeError, NotImplementedError):
            pytest.skip("this processor cannot run the packed kernel")

    with pytest.raises(ModelError, match="repacked for inference"):
        make_method("prompt_tuning", QUICK).fit(context)


def test_loss_is_that_of_the_answer_alone(tiny_engine, toy_encoder):
    start = toy_encoder.start()
    examples = [Example((5, 6, 7), (8, 9)), Example((4, 3, 2, 1), (7,))]

    loss = answer_loss(tiny_engine, start.prefix, None, examples)

    expected = []
    for example in examples:
        context = start.head_ids + start.shared_ids + example.token_ids
        tokens = torch.tensor([context + example.answer_ids], device=TEST_DEVICE)
        logits = tiny_engine.forward.model(tokens).logits[0].cpu()
        places = range(len(context) - 1, len(context) - 1 + len(example.answer_ids))
        targets = torch.tensor(example.answer_ids)
        expected.append(torch.nn.functional.cross_entropy(logits[list(places)], targets))
    torch.testing.assert_close(loss.cpu(), torch.stack(expected).mean(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", TRAINED)
@pytest.mark.parametrize("killed_at", [0.1, 0.45, 0.8])
def test_a_run_killed_and_started_again_ends_bit_equal(
    name, killed_at, tiny_folder, tmp_path, toy_task
):
    """Killed wherever it asks: in a step, between two layers on the way back, on dev."""
    asks = itertools.count()
    whole = context_of(tiny_folder, tmp_path / "whole", toy_task)
    with stopped_by(lambda: next(asks) < 0):
        expected = make_method(name, QUICK).fit(whole)
    left = int(killed_at * next(asks))
    times = itertools.count()
    broken = context_of(tiny_folder, tmp_path / "broken", toy_task)
    with pytest.raises(Interrupted), stopped_by(lambda: next(times) >= left):
        make_method(name, QUICK).fit(broken)

    again = context_of(tiny_folder, tmp_path / "broken", toy_task)
    resumed = make_method(name, QUICK).fit(again)

    assert scores_of(again.engine, resumed) == scores_of(whole.engine, expected)
    assert losses(tmp_path / "broken") == losses(tmp_path / "whole")


def test_a_run_killed_without_warning_goes_on_from_its_last_checkpoint(
    tiny_folder, tmp_path, toy_task
):
    whole = context_of(tiny_folder, tmp_path / "whole", toy_task)
    expected = make_method("lora", QUICK).fit(whole)
    broken = context_of(tiny_folder, tmp_path / "broken", toy_task)

    def die(event):
        if event.done == 6:
            raise MemoryError

    with pytest.raises(MemoryError):
        make_method("lora", QUICK).fit(
            FitContext(broken.engine, broken.encoder, 0, tmp_path / "broken", progress=die)
        )
    with (tmp_path / "broken" / "history.jsonl").open("a") as stream:
        stream.write('{"step": 7, "lo')
    again = context_of(tiny_folder, tmp_path / "broken", toy_task)
    resumed = make_method("lora", QUICK).fit(again)

    assert scores_of(again.engine, resumed) == scores_of(whole.engine, expected)
    assert losses(tmp_path / "broken") == losses(tmp_path / "whole")


def scores_of(engine, fitted) -> list[list[float]]:
    samples = fitted.encoder.task.test
    predictions = predict(engine, fitted, samples)
    return [list(p.probabilities.values()) for p in predictions]


def losses(folder) -> list[tuple[float, float]]:
    files = sorted(folder.rglob("history.jsonl"))  # an ensemble has one for each member
    entries = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    assert entries
    return [(e["step"], e.get("loss", e.get("dev_loss"))) for e in entries]


# The few tokens of a hard prompt may come out the same from two seeds.
@pytest.mark.parametrize("name", sorted(set(TRAINED) - {"hard_prompt"}))
def test_two_fits_with_one_seed_agree_and_another_seed_differs(
    name, tiny_folder, tmp_path, toy_task
):
    results = []
    for run, seed in enumerate((0, 0, 1)):
        context = context_of(tiny_folder, tmp_path / str(run), toy_task, seed=seed)
        results.append(scores_of(context.engine, make_method(name, QUICK).fit(context)))

    assert results[0] == results[1]
    assert results[0] != results[2]


@pytest.mark.parametrize("precision", ["fp32", "nf4"])
@pytest.mark.parametrize("name", TRAINED)
def test_training_leaves_the_base_unchanged(name, precision, tiny_folder, tmp_path, toy_task):
    context = context_of(tiny_folder, tmp_path, toy_task, precision=precision)
    before = base_hash(context.engine.forward.model)

    make_method(name, QUICK).fit(context)

    assert base_hash(context.engine.forward.model) == before


@pytest.mark.parametrize("name", TRAINED)
def test_gradients_reach_only_the_adapter(name, tiny_folder, tmp_path, toy_task):
    context = context_of(tiny_folder, tmp_path, toy_task)

    make_method(name, QUICK).fit(context)

    model = context.engine.forward.model
    assert [name for name, p in model.named_parameters() if p.grad is not None] == []


def test_soft_prompt_starts_exactly_at_zero_shot(toy_context):
    zero = make_method("zero_shot", {}).fit(toy_context)
    length = len(toy_context.encoder.start().shared_ids)
    still = make_method(
        "prompt_tuning",
        QUICK | {"learning_rate": 1e-8, "steps": 1, "num_virtual_tokens": length},
    )

    soft = still.fit(toy_context)

    expected = scores_of(toy_context.engine, zero)
    np.testing.assert_allclose(scores_of(toy_context.engine, soft), expected, atol=1e-5)


@pytest.mark.parametrize("chat", [False, True])
def test_an_exported_soft_prompt_answers_the_same_in_plain_peft(
    chat, tiny_folder, tmp_path, toy_task
):
    context = context_of(tiny_folder, tmp_path / "run", toy_task)
    encoder = PromptEncoder(context.engine.tokenizer, TOY_TEMPLATE, toy_task, chat)
    context = FitContext(context.engine, encoder, 0, tmp_path / "run")
    method = make_method("prompt_tuning", QUICK)
    fitted = method.fit(context)
    method.save(context, fitted, tmp_path / "adapter")

    plain = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(tiny_folder), tmp_path / "adapter"
    )
    for sample in toy_task.test:
        own = encoder.own_ids(sample.fields, encoder.start())
        logits = plain(input_ids=torch.tensor([own])).logits[0, -1].log_softmax(-1)
        choice = encoder.choice_ids()[0][:1]
        ours = context.engine.score([fitted.condition(sample.fields)], [[choice]])[0].logprobs[0]
        assert float(logits[choice[0]].detach()) == pytest.approx(ours, abs=1e-4)


def test_an_exported_lora_answers_the_same_in_plain_peft(tiny_folder, tmp_path, toy_task):
    context = context_of(tiny_folder, tmp_path / "run", toy_task)
    method = make_method("lora", QUICK)
    fitted = method.fit(context)
    method.save(context, fitted, tmp_path / "adapter")

    plain = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(tiny_folder), tmp_path / "adapter"
    )
    encoder = context.encoder
    for sample in toy_task.test:
        text = encoder.render(sample.fields).text
        tokens = torch.tensor([encoder.encode(text)])
        logits = plain(input_ids=tokens).logits[0, -1].log_softmax(-1)
        choice = encoder.choice_ids()[0][:1]
        ours = context.engine.score([fitted.condition(sample.fields)], [[choice]])[0].logprobs[0]
        assert float(logits[choice[0]].detach()) == pytest.approx(ours, abs=1e-4)


def test_adapters_trained_in_plain_peft_are_imported(tiny_folder, tmp_path, toy_task):
    configs = {
        "lora": LoraConfig(task_type=TaskType.CAUSAL_LM, r=4, target_modules=["q_proj"]),
        "prompt_tuning": PromptTuningConfig(task_type=TaskType.CAUSAL_LM, num_virtual_tokens=6),
    }
    for name, config in configs.items():
        peft = get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_folder), config)
        optimizer = torch.optim.SGD([p for p in peft.parameters() if p.requires_grad], lr=0.5)
        tokens = torch.tensor([[5, 6, 7, 8, 9]])
        for _ in range(3):
            optimizer.zero_grad()
            peft(input_ids=tokens, labels=tokens).loss.backward()
            optimizer.step()
        peft.eval().save_pretrained(tmp_path / name)
        context = context_of(tiny_folder, tmp_path / "run", toy_task)

        fitted = make_method(name, {}).restore(context, tmp_path / name)

        sample = toy_task.test[0]
        row = fitted.condition(sample.fields)
        shared = [p for piece in row.prefix.pieces if isinstance(piece, tuple) for p in piece]
        with torch.no_grad():
            logits = peft(input_ids=torch.tensor([[*shared, *row.token_ids]])).logits[0, -1]
        ours = context.engine.score([row], [[(8,)]])[0].logprobs[0]
        assert float(logits.log_softmax(-1)[8]) == pytest.approx(ours, abs=1e-4)


def test_an_adapter_of_another_width_is_refused(tiny_folder, tmp_path, toy_task):
    config = PromptTuningConfig(task_type=TaskType.CAUSAL_LM, num_virtual_tokens=3, token_dim=8)
    config.save_pretrained(tmp_path)
    from safetensors.torch import save_file

    save_file({"prompt_embeddings": torch.zeros(3, 8)}, tmp_path / "adapter_model.safetensors")
    context = context_of(tiny_folder, tmp_path / "run", toy_task)

    with pytest.raises(ModelError) as caught:
        make_method("prompt_tuning", {}).restore(context, tmp_path)

    assert str(caught.value) == (
        f"adapter folder {tmp_path}: prompt_embeddings has shape (3, 8); (P, 64) is needed for "
        "this base model."
    )


def test_a_pickled_adapter_is_refused(tiny_folder, tmp_path, toy_task):
    (tmp_path / "adapter_config.json").write_text("{}")
    (tmp_path / "adapter_model.bin").write_bytes(b"pickle")
    context = context_of(tiny_folder, tmp_path / "run", toy_task)

    for name in ("prompt_tuning", "lora"):
        with pytest.raises(ModelError, match="safetensors"):
            make_method(name, {}).restore(context, tmp_path)


def test_a_gradient_that_is_not_finite_stops_training(tiny_engine, toy_encoder, tmp_path):
    vectors = torch.nn.Parameter(torch.full((2, 64), float("nan")))
    request = TrainingRequest(
        trainable=Trainable({"prompt": vectors}, lambda: Prefix((vectors,))),
        examples=[Example((1, 2), (3,))],
        options=TrainingOptions(steps=1, learning_rate=0.1),
        seed=0,
        evaluate=lambda: None,
        folder=tmp_path,
    )

    with pytest.raises(ModelError) as caught:
        train(tiny_engine, request)

    assert str(caught.value) == (
        "training step 1: the gradient of prompt is not finite. Try a lower learning_rate or "
        "precision 'fp32'."
    )


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", [0.5, 1.0, 1.0, 1.0, 1.0, 1.0]),
        ("linear", [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]),
        ("cosine", [0.5, 1.0, 1.0, 0.853553, 0.5, 0.146447]),
    ],
)
def test_learning_rate_warms_up_and_decays(schedule, expected):
    options = TrainingOptions(steps=6, warmup_steps=2, learning_rate=1.0, schedule=schedule)

    assert [learning_rate_at(options, step) for step in range(6)] == pytest.approx(
        expected, abs=1e-6
    )


def test_untouched_rows_score_as_the_base_after_training(toy_context):
    row = Conditioning(Prefix(), (5, 6, 7))
    before = toy_context.engine.score([row], [[(8,)]])[0].logprobs[0]

    make_method("lora", QUICK).fit(toy_context)

    assert toy_context.engine.score([row], [[(8,)]])[0].logprobs[0] == before


def test_one_pass_and_two_passes_give_the_same_loss_and_gradient(
    tiny_engine, toy_encoder, monkeypatch
):
    results = []
    for tokens in (10_000, 0):
        monkeypatch.setattr("workbench.training.loss.PASS_TOKENS", tokens)
        start = toy_encoder.start()
        vectors = torch.nn.Parameter(tiny_engine.forward.embed(start.shared_ids))
        context = FitContext(tiny_engine, toy_encoder, 0, None)
        batch = training_examples(context, start)[:5]
        loss = answer_loss(tiny_engine, Prefix((vectors,)), None, batch)
        loss.backward()
        results.append((loss.detach(), vectors.grad))

    torch.testing.assert_close(results[0], results[1], rtol=1e-4, atol=1e-6)


def scored(tiny_engine, tmp_path, scores: list[DevScore], patience: int = 0):
    """Train a vector for as many evaluations as there are scores; return where it ended."""
    vectors = torch.nn.Parameter(tiny_engine.forward.embed((5, 6)).detach().clone())
    trainable = Trainable({"prompt": vectors}, lambda: Prefix((vectors,)))
    options = TrainingOptions(
        steps=len(scores), eval_every=1, batch_size=1, learning_rate=1e-3, patience=patience
    )
    given = iter(scores)
    request = TrainingRequest(
        trainable, [Example((5, 6), (7,))], options, 0, lambda: next(given), tmp_path
    )
    return train(tiny_engine, request)


def test_ties_cannot_lead_down_step_by_step(tiny_engine, tmp_path):
    accuracies = [0.9, 0.875, 0.85, 0.8125, 0.775]  # each within a standard error of the last
    scores = [DevScore(a, 1.0 - 0.1 * i, 80) for i, a in enumerate([0.5, *accuracies])]

    state = scored(tiny_engine, tmp_path, scores)

    assert state.best.accuracy == 0.875  # 0.9 - 0.034 is the least that ties


def test_what_breaks_the_condition_sets_no_standard_and_spends_no_patience(tiny_engine, tmp_path):
    broken = [DevScore(0.95, 0.1, 80, is_admissible=False)] * 4
    kept = [DevScore(0.7, 0.5, 80), DevScore(0.69, 0.4, 80)]

    state = scored(tiny_engine, tmp_path, [*broken, *kept], patience=2)

    assert state.best == kept[1]
