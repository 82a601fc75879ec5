"""Methods on bases whose layers have other names, are fused, or are stored turned.

Tolerance: 2e-5 on logits of tiny models in float32.
"""

import pytest
import torch
from peft import PeftModel
from test_weight_identities import QUICK, TOKENS, context_of, logits_of
from transformers import AutoModelForCausalLM

from toys import write_base
from workbench.errors import ConfigError
from workbench.methods.catalog import make_method

WIDE = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 256,
}
BASES = {
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256},
    "gpt_neox": WIDE,
    "phi3": WIDE,
    "opt": WIDE | {"ffn_dim": 48, "word_embed_proj_dim": 32, "init_std": 0.15},
}
METHODS = {
    "lora": ("lora", {}),
    "lora on attention": ("lora", {"targets": "attention"}),
    "dora on the mlp": ("dora", {"targets": "mlp"}),
    "adalora": ("adalora", {}),
    "ia3": ("ia3", {}),
}


@pytest.fixture(scope="module")
def folder_of(tiny_folder, tmp_path_factory):
    """Return the folders of the bases by family."""
    return {
        family: write_base(family, tmp_path_factory.mktemp(family), tiny_folder, **options)
        for family, options in BASES.items()
    }


@pytest.mark.parametrize(("name", "options"), METHODS.values(), ids=METHODS)
@pytest.mark.parametrize("family", BASES)
def test_what_is_trained_answers_the_same_in_plain_peft_and_back(
    family, name, options, folder_of, tmp_path, toy_task
):
    context = context_of(folder_of[family], tmp_path, toy_task)
    method = make_method(name, QUICK | options)
    method.save(context, method.fit(context), tmp_path / "export")
    ours = logits_of(context.engine, "adapter")
    assert (ours - logits_of(context.engine, None)).abs().max() > 1e-3

    base = AutoModelForCausalLM.from_pretrained(folder_of[family])
    model = PeftModel.from_pretrained(base, tmp_path / "export").eval()
    with torch.inference_mode():
        theirs = model(torch.tensor([TOKENS])).logits[0]
    torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=1e-4)

    again = context_of(folder_of[family], tmp_path, toy_task, name="again")
    method.restore(again, tmp_path / "export")
    torch.testing.assert_close(logits_of(again.engine, "again"), ours, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", ["bitfit", "bottleneck_adapter"])
@pytest.mark.parametrize("family", BASES)
def test_methods_of_our_own_find_their_places_too(family, name, folder_of, tmp_path, toy_task):
    context = context_of(folder_of[family], tmp_path, toy_task)

    make_method(name, QUICK).fit(context)

    gap = logits_of(context.engine, "adapter") - logits_of(context.engine, None)
    assert gap.abs().max() > 1e-3


def test_names_of_layers_in_the_place_of_targets_are_explained():
    with pytest.raises(ConfigError) as caught:
        make_method("lora", {"targets": "q,v"})

    assert "attention_qv" in str(caught.value)
    assert "all_linear" in str(caught.value)
