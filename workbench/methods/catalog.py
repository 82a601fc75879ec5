"""The methods by name. To add one: write its file, add one line here."""

from collections.abc import Mapping
from dataclasses import fields

from workbench.fitting.base import Method
from workbench.options import check_options, named_class

METHODS = {
    "adalora": "workbench.methods.adalora:AdaLora",
    "bitfit": "workbench.methods.bitfit:BitFit",
    "bottleneck_adapter": "workbench.methods.bottleneck_adapter:BottleneckAdapter",
    "chain_of_thought": "workbench.methods.chain_of_thought:ChainOfThought",
    "combined": "workbench.methods.combined:Combined",
    "demonstration_search": "workbench.methods.demonstration_search:DemonstrationSearch",
    "dora": "workbench.methods.dora:Dora",
    "few_shot": "workbench.methods.few_shot:FewShot",
    "full_fine_tuning": "workbench.methods.full_fine_tuning:FullFineTuning",
    "hard_prompt": "workbench.methods.hard_prompt:HardPrompt",
    "ia3": "workbench.methods.ia3:Ia3",
    "imported": "workbench.methods.imported:Imported",
    "instruction_search": "workbench.methods.instruction_search:InstructionSearch",
    "lora": "workbench.methods.lora:Lora",
    "p_tuning": "workbench.methods.p_tuning:PTuning",
    "prefix_tuning": "workbench.methods.prefix_tuning:PrefixTuning",
    "prompt_ensemble": "workbench.methods.prompt_ensemble:PromptEnsemble",
    "prompt_tuning": "workbench.methods.prompt_tuning:PromptTuning",
    "self_consistency": "workbench.methods.self_consistency:SelfConsistency",
    "zero_shot": "workbench.methods.zero_shot:ZeroShot",
}


def method_class(name: str) -> type[Method]:
    """Return the class of a method.

    Raises:
        ConfigError: unknown name.
    """
    found: type[Method] = named_class(METHODS, name, what="method", where="methods")
    return found


def make_method(name: str, options: Mapping[str, object]) -> Method:
    """Return a method with its options checked and the defaults filled in.

    Raises:
        ConfigError: unknown method, unknown option, wrong type or value out of bounds.
    """
    found = method_class(name)
    return found(**check_options(found, options, where=f"methods.{name}"))


def method_name(method: Method) -> str:
    """Return the name a method has in the catalog.

    Raises:
        ValueError: it is not in the catalog.
    """
    kind = type(method)
    where = f"{kind.__module__}:{kind.__qualname__}"
    for name, target in METHODS.items():
        if target == where:
            return name
    raise ValueError(f"{where} is no method of the catalog")


def resolved_options(method: Method) -> dict[str, object]:
    """Return all options of a method, defaults included."""
    return {field.name: getattr(method, field.name) for field in fields(method)}


def with_options(method: Method, changes: Mapping[str, object]) -> Method:
    """Return a method with some options changed, checked like those of `make_method`.

    Raises:
        ConfigError: unknown option, wrong type or value out of bounds.
    """
    return make_method(method_name(method), {**resolved_options(method), **changes})
