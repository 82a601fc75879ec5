"""The methods by name. To add one: write its file, add one line here."""

from collections.abc import Mapping

from workbench.methods.base import Method
from workbench.options import check_options, named_class

METHODS = {
    "chain_of_thought": "workbench.methods.chain_of_thought:ChainOfThought",
    "few_shot": "workbench.methods.few_shot:FewShot",
    "hard_prompt": "workbench.methods.hard_prompt:HardPrompt",
    "imported": "workbench.methods.imported:Imported",
    "lora": "workbench.methods.lora:Lora",
    "prompt_tuning": "workbench.methods.prompt_tuning:PromptTuning",
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
