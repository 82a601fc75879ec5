"""Changes of weights: what they are at the start, what PEFT makes of them, and known special cases.

Tolerances: 1e-5 on logits of the tiny model in float32; exact where nothing is computed twice.
"""

import dataclasses
import json

import numpy as np
import pytest
import torch
from peft import AdaLoraConfig, IA3Config, LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM

from toys import TEST_DEVICE, TOY_TEMPLATE, open_tiny
from workbench.encoding import PromptEncoder
from workbench.errors import ConfigError, ModelError
from workbench.fitting.base import FitContext
from workbench.fitting.learning import training_examples
from workbench.fitting.weight_training import WeightTraining
from workbench.methods.catalog import METHODS, make_method, method_class
from workbench.models.adapters.layer_changes import DirectionChange, weight_of
from workbench.models.base import Conditioning, Prefix
from workbench.models.engine import Engine
from workbench.training.loss import answer_loss

WEIGHTS = tuple(name for name in METHODS if issubclass(method_class(name), WeightTraining))
KNOWN_TO_PEFT = ("lora", "dora", "adalora", "ia3")
QUICK = {"steps": 12, "batch_size": 4, "eval_every": 4, "learning_rate": 0.02}
TOKENS = (5, 60, 7, 33, 9, 101)


def context_of(folder, tmp, toy_task, *, precision="fp32", name="adapter", engine=None):
    engine = engine or Engine(open_tiny(folder, precision))
    encoder = PromptEncoder(engine.tokenizer, TOY_TEMPLATE, toy_task)
    return FitContext(engine, encoder, seed=0, folder=tmp / name, adapter_name=name)


@pytest.fixture
def context(tiny_folder, tmp_path, toy_task) -> FitContext:
    return context_of(tiny_folder, tmp_path, toy_task)


def logits_of(engine, adapter: str | None) -> torch.Tensor:
    """Return logits (T, V) of some tokens with an adapter."""
    with torch.inference_mode(), engine.adapters.active([adapter]):
        tokens = torch.tensor([TOKENS], device=engine.forward.device)
        return engine.forward.model(tokens).logits[0].cpu()


def start_of(method, context) -> None:
    context.engine.adapters.add(context.adapter_name, method.new_adapter(context))


@pytest.mark.parametrize("name", WEIGHTS)
def test_before_training_every_change_is_the_base(name, context):
    start_of(make_method(name, {}), context)

    base, changed = logits_of(context.engine, None), logits_of(context.engine, "adapter")

    torch.testing.assert_close(changed, base, atol=1e-5, rtol=0)


def test_pissa_starts_at_the_base_from_the_weights_own_directions(context):
    method = make_method("lora", {"init": "pissa", "rank": 4})
    start_of(method, context)

    layer, change = next(iter(context.engine.adapters.adapter("adapter").changes.items()))
    weight = weight_of(context.engine.forward.model.get_submodule(layer))
    left, values, right = torch.linalg.svd(weight)
    main = left[:, :4] @ torch.diag(values[:4]) @ right[:4]

    torch.testing.assert_close(change.lora_B @ change.lora_A * method.scaling, main)
    torch.testing.assert_close(
        logits_of(context.engine, "adapter"), logits_of(context.engine, None), atol=1e-4, rtol=0
    )


@pytest.mark.usefixtures("kept_weights")
def test_loftq_starts_nearer_to_the_unquantised_model_than_the_base(
    tiny_folder, tmp_path, toy_task
):
    exact = context_of(tiny_folder, tmp_path, toy_task)
    rounded = context_of(tiny_folder, tmp_path, toy_task, precision="nf4")
    options = {"init": "loftq", "rank": 16, "targets": "all_linear"}
    start_of(make_method("lora", options), rounded)

    wanted = logits_of(exact.engine, None)
    base, corrected = (logits_of(rounded.engine, adapter) for adapter in (None, "adapter"))

    assert (corrected - wanted).norm() < 0.7 * (base - wanted).norm()


def test_loftq_without_rounding_is_refused(context):
    with pytest.raises(ConfigError) as caught:
        start_of(make_method("lora", {"init": "loftq"}), context)

    assert str(caught.value) == (
        "lora.init: 'loftq' corrects a quantised base's rounding, and precision 'fp32' has "
        "none. Use precision nf4, or init 'zero'."
    )


def test_more_directions_than_a_weight_has_are_refused(context):
    with pytest.raises(ConfigError) as caught:
        start_of(make_method("lora", {"init": "pissa", "rank": 40}), context)

    assert str(caught.value) == (
        "methods.lora.rank: 40 is more than the 32 directions a targeted weight has. Use at most "
        "that many with init 'pissa'."
    )


EXPORTS = {
    "lora": ("lora", {}),
    "lora on all linear layers": ("lora", {"targets": "all_linear", "rank": 3}),
    "rsLoRA": ("lora", {"rank_stabilised": True, "rank": 4}),
    "PiSSA": ("lora", {"init": "pissa", "rank": 4}),
    "rank-stabilised PiSSA": ("lora", {"init": "pissa", "rank": 4, "rank_stabilised": True}),
    "DoRA": ("dora", {}),
    "AdaLoRA": ("adalora", {}),
    "IA3": ("ia3", {}),
}


@pytest.mark.parametrize(("name", "options"), EXPORTS.values(), ids=EXPORTS)
def test_an_export_answers_the_same_in_plain_peft_and_back(
    name, options, tiny_folder, context, tmp_path, toy_task
):
    method = make_method(name, QUICK | options)
    method.save(context, method.fit(context), tmp_path / "export")
    ours = logits_of(context.engine, "adapter")
    assert (ours - logits_of(context.engine, None)).abs().max() > 1e-2

    base = AutoModelForCausalLM.from_pretrained(tiny_folder)
    with torch.inference_mode():
        theirs = PeftModel.from_pretrained(base, tmp_path / "export")(torch.tensor([TOKENS]))
    torch.testing.assert_close(ours, theirs.logits[0], atol=1e-5, rtol=1e-4)

    other = context_of(tiny_folder, tmp_path, toy_task, name="again")
    make_method("imported", {"adapter": str(tmp_path / "export")}).fit(other)
    torch.testing.assert_close(logits_of(other.engine, "again"), ours, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("init", ["zero", "pissa"])
def test_an_export_of_rslora_is_right_for_readers_that_know_only_alpha(init, context, tmp_path):
    options = {"rank_stabilised": True, "rank": 4, "alpha": 6.0, "init": init}
    method = make_method("lora", QUICK | options)
    method.save(context, method.fit(context), tmp_path / "export")

    config = json.loads((tmp_path / "export" / "adapter_config.json").read_text())
    assert config["use_rslora"] is False
    assert config["lora_alpha"] / config["r"] == pytest.approx(6.0 / 4**0.5)


PEFT_CONFIGS = {
    "lora": LoraConfig(r=4, target_modules=["q_proj", "v_proj"], use_rslora=True),
    "dora": LoraConfig(r=4, target_modules=["q_proj", "v_proj"], use_dora=True),
    "adalora": AdaLoraConfig(init_r=4, target_r=2, total_step=10, target_modules=["q_proj"]),
    "ia3": IA3Config(
        target_modules=["k_proj", "v_proj", "down_proj"], feedforward_modules=["down_proj"]
    ),
}


@pytest.mark.parametrize("name", PEFT_CONFIGS)
def test_what_peft_trained_is_imported_with_its_answers(name, tiny_folder, context, tmp_path):
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_folder), PEFT_CONFIGS[name])
    generator = torch.Generator().manual_seed(5)
    for parameter in (p for p in model.parameters() if p.requires_grad):
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    model.save_pretrained(tmp_path / "theirs")
    with torch.inference_mode():
        theirs = model.eval()(torch.tensor([TOKENS])).logits[0]

    make_method("imported", {"adapter": str(tmp_path / "theirs")}).fit(context)

    found = logits_of(context.engine, "adapter")
    torch.testing.assert_close(found, theirs, atol=1e-5, rtol=1e-4)


def test_gradients_equal_those_of_plain_peft(tiny_folder, context):
    """LoRA and DoRA from one start: the same loss gives the same gradient of every matrix."""
    for name in ("lora", "dora"):
        method = make_method(name, {"rank": 4})
        start_of(method, context)
        generator = torch.Generator().manual_seed(3)
        own = context.engine.adapters.parameters("adapter")
        for key, parameter in own.items():
            if key.endswith("lora_B"):
                drawn = 0.1 * torch.randn(parameter.shape, generator=generator)
                parameter.data = drawn.to(parameter.device)
        config = LoraConfig(
            r=4, lora_alpha=16, target_modules=["q_proj", "v_proj"], use_dora=name == "dora"
        )
        model = get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_folder), config)
        theirs = {
            key.removeprefix("base_model.model.")
            .replace(".default", "")
            .removesuffix(".weight"): parameter
            for key, parameter in model.named_parameters()
            if parameter.requires_grad
        }
        assert theirs.keys() == own.keys()
        for key, parameter in theirs.items():
            parameter.data = own[key].data.cpu().clone()
        tokens = torch.tensor([TOKENS])

        model(tokens).logits.square().mean().backward()
        with context.engine.adapters.active(["adapter"], training=True):
            own_tokens = tokens.to(context.engine.forward.device)
            context.engine.forward.model(own_tokens).logits.square().mean().backward()

        for key, parameter in theirs.items():
            torch.testing.assert_close(own[key].grad.cpu(), parameter.grad, atol=1e-6, rtol=1e-3)


def test_lora_plus_with_ratio_1_is_lora_step_for_step(tiny_folder, tmp_path, toy_task):
    plain = context_of(tiny_folder, tmp_path, toy_task, name="plain")
    plus = context_of(tiny_folder, tmp_path, toy_task, name="plus")
    faster = context_of(tiny_folder, tmp_path, toy_task, name="faster")

    make_method("lora", QUICK).fit(plain)
    make_method("lora", QUICK | {"learning_rate_ratio": 1.0}).fit(plus)
    make_method("lora", QUICK | {"learning_rate_ratio": 8.0}).fit(faster)

    losses = [
        [json.loads(x).get("loss") for x in (c.folder / "history.jsonl").read_text().splitlines()]
        for c in (plain, plus, faster)
    ]
    assert losses[0] == losses[1]
    assert losses[0] != losses[2]


def test_lora_plus_moves_every_b_and_no_a_by_the_ratio(context):
    method = make_method("lora", {"learning_rate_ratio": 16.0})
    adapter = method.new_adapter(context)

    factors = method.trainable(context, adapter, Prefix()).rate_factors

    assert factors == {n: 16.0 for n in adapter.parameters() if n.endswith(".lora_B")}
    assert len(factors) * 2 == len(adapter.parameters())


def test_rank_stabilised_scaling_is_alpha_by_the_root_of_the_rank():
    assert make_method("lora", {"rank": 16, "alpha": 8.0}).scaling == 0.5
    assert make_method("lora", {"rank": 16, "alpha": 8.0, "rank_stabilised": True}).scaling == 2.0


def test_rows_of_the_weight_that_dora_makes_are_as_long_as_m(context):
    make_method("dora", QUICK | {"learning_rate": 0.1}).fit(context)

    for name, change in context.engine.adapters.adapter("adapter").changes.items():
        assert isinstance(change, DirectionChange)
        layer = context.engine.forward.model.get_submodule(name)
        identity = torch.eye(layer.in_features, device=context.engine.forward.device)[None]
        with torch.no_grad():
            weight = change.output(layer, identity, layer.forward(identity))[0].T
        moved = change.lora_magnitude_vector.detach()
        torch.testing.assert_close(weight.norm(dim=1), moved.abs(), rtol=1e-4, atol=1e-5)


def test_dora_answers_the_same_in_training_and_in_inference(context):
    make_method("dora", QUICK).fit(context)
    inferred = logits_of(context.engine, "adapter")

    with context.engine.adapters.active(["adapter"], training=True):
        tokens = torch.tensor([TOKENS], device=context.engine.forward.device)
        trained = context.engine.forward.model(tokens).logits[0].detach().cpu()

    torch.testing.assert_close(trained, inferred)


def test_ranks_of_adalora_follow_the_cubic_schedule_to_the_target(context):
    options = {"steps": 40, "batch_size": 4, "eval_every": 40, "init_rank": 6, "target_rank": 2}
    method = make_method("adalora", options | {"warmup_share": 0.25, "final_share": 0.25})
    parameters = {}
    ranks = {}

    def watch(event):
        found = parameters or context.engine.adapters.parameters("adapter")
        parameters.update(found)
        singular = [p for name, p in found.items() if name.endswith("lora_E")]
        ranks[event.done] = sum(int(p.count_nonzero()) for p in singular)

    method.fit(dataclasses.replace(context, progress=watch))

    first, last, steps = 10, 10, 40
    start, target = 6 * 4, 2 * 4  # two layers, queries and values
    for step in range(1, steps + 1):
        share = 1 - (step - first) / (steps - last - first)
        budget = int((start - target) * share**3 + target)
        expected = start if step <= first else max(budget, target)
        assert ranks[step] == expected, step


def test_adalora_keeps_only_what_has_come_down_to_its_target(context):
    options = {"steps": 20, "batch_size": 4, "eval_every": 1, "init_rank": 6, "target_rank": 2}
    fitted = make_method("adalora", options).fit(context)

    singular = [
        p for n, p in context.engine.adapters.parameters("adapter").items() if n.endswith("lora_E")
    ]
    assert sum(int(p.count_nonzero()) for p in singular) == 2 * len(singular)
    assert fitted.cost.best_step >= 14  # the last 30 % of the steps


def test_kinds_of_adapters_share_a_batch_without_changing_each_others_scores(
    tiny_folder, tmp_path, toy_task
):
    engine = Engine(open_tiny(tiny_folder))
    for name in WEIGHTS:
        context = context_of(tiny_folder, tmp_path, toy_task, name=name, engine=engine)
        make_method(name, QUICK).fit(context)
    choices = [(8,), (9, 10)]
    rows = [
        Conditioning(Prefix((TOKENS[:size],)), TOKENS, name)
        for size in (1, 3)
        for name in (None, *WEIGHTS)
    ]

    together = engine.score(rows, [choices] * len(rows))

    for row, found in zip(rows, together, strict=True):
        (alone,) = engine.score([row], [choices])
        np.testing.assert_allclose(found.logprobs, alone.logprobs, atol=1e-4)
    assert len({round(float(s.logprobs[0]), 3) for s in together}) > len(WEIGHTS)


def test_dropout_acts_while_training_and_never_in_inference(context):
    method = make_method("lora", {"dropout": 0.5})
    start_of(method, context)
    for name, parameter in context.engine.adapters.parameters("adapter").items():
        if name.endswith("lora_B"):
            torch.nn.init.normal_(parameter)
    batch = training_examples(context, context.encoder.start())[:4]

    losses = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        with context.engine.adapters.active(["adapter"], training=True):
            losses.append(answer_loss(context.engine, Prefix(), "adapter", batch).item())

    assert losses[0] != losses[1]
    assert torch.equal(logits_of(context.engine, "adapter"), logits_of(context.engine, "adapter"))


def test_a_layer_whose_weight_is_used_without_running_it_is_refused(context):
    mlp = context.engine.forward.model.get_submodule("model.layers.1.mlp")

    def fused(states):
        inner = mlp.act_fn(mlp.gate_proj(states)) * mlp.up_proj(states)
        return torch.nn.functional.linear(inner, mlp.down_proj.weight)

    mlp.forward = fused
    start_of(make_method("lora", {"targets": "mlp"}), context)

    with pytest.raises(ModelError) as caught:
        logits_of(context.engine, "adapter")

    assert str(caught.value) == (
        "adapter 'adapter': changes module 'model.layers.1.mlp.down_proj', whose weight this base "
        "uses without running the module, so the change would be ignored. Use other targets, or "
        "merge the adapter into its base with PEFT and use the merged folder as the base."
    )
    assert context.engine.adapters.names == ("adapter",)
    logits_of(context.engine, None)


def test_full_fine_tuning_that_does_not_fit_is_refused_with_the_numbers(context, monkeypatch):
    monkeypatch.setattr("workbench.methods.full_fine_tuning._free_bytes", lambda _: 1000)

    with pytest.raises(ConfigError) as caught:
        make_method("full_fine_tuning", {}).fit(context)

    message = str(caught.value)
    assert message.startswith("full_fine_tuning: training all weights of '")
    assert message.endswith(f"free on {TEST_DEVICE}. Use lora, or a smaller base model.")


@pytest.mark.usefixtures("kept_weights")
def test_full_fine_tuning_starts_from_the_unquantised_weights(tiny_folder, tmp_path, toy_task):
    exact = context_of(tiny_folder, tmp_path, toy_task)
    rounded = context_of(tiny_folder, tmp_path, toy_task, precision="nf4")

    start_of(make_method("full_fine_tuning", {}), rounded)

    found = logits_of(rounded.engine, "adapter")
    torch.testing.assert_close(found, logits_of(exact.engine, None), atol=1e-5, rtol=0)
    assert (found - logits_of(rounded.engine, None)).abs().max() > 1e-2
