"""What a base is compared with when it is loaded, and what follows from how it is made."""

from itertools import product

import pytest
import torch

from architectures import save_tiny
from toys import open_tiny
from workbench.errors import ModelError, PromptError
from workbench.models import attention
from workbench.models.base import Conditioning, Patch, Prefix
from workbench.models.engine import Engine
from workbench.models.loading import PRECISIONS


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory):
    """Return a function that writes a tiny model's folder, once for the module."""
    root, made = tmp_path_factory.mktemp("models"), {}

    def folder(name: str):
        if name not in made:
            made[name] = save_tiny(name, root / name)
        return made[name]

    return folder


@pytest.mark.filterwarnings("ignore:MatMul8bitLt")
@pytest.mark.parametrize(
    ("name", "precision"),
    [
        *product(["llama", "gpt2", "gemma2", "gpt_oss"], PRECISIONS),
        # On a CPU, bitsandbytes' int8 products fail for inputs of several rows with outliers.
        *product(["minicpm3"], [one for one in PRECISIONS if one != "int8"]),
        ("laguna", "bf16"),  # rounding sends a token to another expert
    ],
)
def test_a_good_base_is_taken_in_every_precision(folder_of, name, precision):
    assert Engine(open_tiny(folder_of(name), precision)).forward.num_layers == 2


@pytest.mark.filterwarnings("ignore:MatMul8bitLt")
@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8", "nf4"])
@pytest.mark.parametrize(("name", "left_out"), [("gemma2", "softcap"), ("gpt_oss", "sinks")])
def test_a_part_of_attention_that_is_left_out_is_seen(
    folder_of, monkeypatch, name, left_out, precision
):
    whole = attention.attention_weights
    monkeypatch.setattr(
        attention,
        "attention_weights",
        lambda *given, **options: whole(*given, **(options | {left_out: None})),
    )
    with pytest.raises(ModelError, match=r"logits of .* differ by"):
        Engine(open_tiny(folder_of(name), precision))


@pytest.mark.filterwarnings("ignore:MatMul8bitLt")
@pytest.mark.parametrize("factor", [0.8, 1.01])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_logits_on_another_scale_are_seen_in_every_precision(
    folder_of, monkeypatch, factor, precision
):
    """Whatever the weights are rounded to, both ways are rounded to the same."""
    from workbench.models.forward import BaseForward

    right = BaseForward.logits
    monkeypatch.setattr(BaseForward, "logits", lambda self, hidden: factor * right(self, hidden))
    with pytest.raises(ModelError, match=r"logits of .* differ by"):
        Engine(open_tiny(folder_of("llama"), precision))


@pytest.mark.filterwarnings("ignore:MatMul8bitLt")
@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_comparison_leaves_the_base_as_it_was(folder_of, precision):
    base = open_tiny(folder_of("llama"), precision)
    before = {name: tensor.clone() for name, tensor in base.model.state_dict().items()}
    engine = Engine(base)
    for name, tensor in base.model.state_dict().items():
        assert tensor.dtype == before[name].dtype
        assert torch.equal(tensor, before[name])
    row = Conditioning(Prefix(((5, 6, 7),)), (8, 9))
    (first,), (second,) = (engine.score([row], [[(5,), (9, 4)]]) for _ in range(2))
    assert first.logprobs.tolist() == second.logprobs.tolist()
    kept = engine.compute_prefix(row.prefix, None)
    assert kept.keys[0].dtype == (torch.bfloat16 if precision == "bf16" else torch.float32)


@pytest.mark.parametrize("part", ["window", "layer_types"])
def test_a_window_that_is_misread_is_seen(folder_of, monkeypatch, part):
    from workbench.models import forward

    class Misread(forward.BaseForward):
        def __init__(self, model):
            super().__init__(model)
            if part == "window":
                self.window = None
            else:
                self.layer_types = {"full_attention"}

    monkeypatch.setattr("workbench.models.engine.BaseForward", Misread)
    with pytest.raises(ModelError, match=r"logits of .* differ by"):
        Engine(open_tiny(folder_of("gemma3_text")))


def test_a_long_rotation_ends_where_it_changes(folder_of):
    """Beyond it the angles of all positions are others, those of stored keys too."""
    engine = Engine(open_tiny(folder_of("phi3-rope-longrope")))
    assert engine.info.context_length == 64
    row = Conditioning(Prefix((tuple(range(3, 43)),)), tuple(range(3, 33)))
    with pytest.raises(PromptError, match="64"):
        engine.score([row], [[(5,)]])


def test_the_part_that_reads_text_says_how_long_a_text_may_be(folder_of):
    assert open_tiny(folder_of("gemma3")).info.context_length == 512


def test_keys_are_as_wide_as_they_are_not_as_the_config_seems_to_say(folder_of):
    forward = Engine(open_tiny(folder_of("falcon-key-heads"))).forward
    # Its two heads are repeated for the four of the queries before they are kept.
    assert forward.state_shape == (2, 4, 8)
    assert forward.cache_bytes_per_token == 2 * 4 * (8 + 8) * torch.float32.itemsize


def test_values_of_another_width_cannot_be_learned_as_a_prefix(folder_of):
    forward = Engine(open_tiny(folder_of("deepseek_v3"))).forward
    with pytest.raises(ModelError, match="prompt_tuning or lora"):
        _ = forward.state_shape
    # Kept are a latent vector of 8 and a rotated one of 4, not the heads made of them.
    assert forward.cache_bytes_per_token == 2 * (8 + 4) * torch.float32.itemsize


def test_layers_of_another_name_are_run_but_not_looked_into(folder_of):
    """DBRX calls its layers blocks, and its last norm norm_f."""
    engine = Engine(open_tiny(folder_of("dbrx")))
    patch = Patch(0, 0, torch.zeros(1, 32))
    with pytest.raises(ModelError, match="no layers or h"):
        engine.states_of_prefix(Prefix(((5, 6),), patches=(patch,)))
    with pytest.raises(ModelError, match="no norm or ln_f"):
        engine.forward.final_norm(torch.zeros(1, 32))


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("lfm2", "layers of the kind conv"),
        ("qwen3_next", "linear_attention"),
        ("gemma3n_text", "ids of tokens"),
        ("falcon-alibi", "fails where rows share a prefix"),
        ("bart", "logits of a row differ"),
        ("bloom", "computes attention its own way"),
    ],
)
def test_why_a_base_is_refused(folder_of, name, why):
    with pytest.raises(ModelError, match=why) as error:
        Engine(open_tiny(folder_of(name)))
    assert "\n" not in str(error.value)


@pytest.mark.filterwarnings("ignore:MatMul8bitLt")
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(("name", "experts"), [("mixtral", True), ("llama", False)])
def test_experts_that_stay_in_full_are_said_and_counted(folder_of, name, experts, precision):
    base = open_tiny(folder_of(name), precision)
    is_quantised = precision not in ("bf16", "fp32")
    assert ("cannot be quantised" in base.info.source) == (experts and is_quantised)
    tensors = {n: p for n, p in base.model.named_parameters() if p.ndim == 3}
    assert bool(tensors) == experts
    assert base.info.footprint_bytes > sum(tensor.nbytes for tensor in tensors.values())
    if experts and is_quantised:
        assert all(tensor.is_floating_point() for tensor in tensors.values())
        size = sum(tensor.nbytes for tensor in tensors.values())
        assert f"{size / 1e6:.1f} MB" in base.info.source
        assert "experts" in base.info.source
