"""Run every architecture of tests/architectures.py and write docs/architectures.md.

`make architectures`, after an update of transformers or a change of how models are run.
"""

import re
import sys
import tempfile
import warnings
from pathlib import Path

import transformers

from architectures import ARCHITECTURES, NOT_TINY, save_tiny
from conformance import NEW_TOKENS, TOLERANCE, Outcome, outcome_of

TABLE = Path(__file__).parent / "architectures.md"
_ROW = re.compile(r"^\| `([^`]+)` \| `[^`]+` \| (exact|refused) \|", re.MULTILINE)
# What a message says of the base and of what to do stands once at the top of the page.
_FRAME = re.compile(
    r"^model '.*?(?:cannot be run here as its authors run it|"
    r"cannot be loaded as a causal language model): |\. Use a Llama-.*$"
)


def kinds_in_table(text: str) -> dict[str, str]:
    """Return what the page says about each architecture: "exact" or "refused"."""
    return dict(_ROW.findall(text))


def page(outcomes: dict[str, Outcome]) -> str:
    """Return the page that says what became of each architecture.

    Raises:
        ValueError: one is neither exact nor refused.
    """
    wrong = {name: one.detail for name, one in outcomes.items() if one.kind == "wrong"}
    if wrong:
        raise ValueError(f"neither exact nor refused: {wrong}")
    exact = sum(one.kind == "exact" for one in outcomes.values())
    lines = [
        "# Architectures",
        "",
        "Written by `make architectures`; do not edit.",
        "",
        f"Of each causal language model that transformers {transformers.__version__} can make, a "
        "tiny one with random weights was run by the engine and by plain transformers (eager "
        "attention, float32, no cache, one row at a time). *Exact*: label log-probabilities after "
        f"shared, learned and empty prefixes agree to {TOLERANCE:g} nats, and so do {NEW_TOKENS} "
        "greedy tokens. *Refused*: loading it ends in one message. Nothing else happens.",
        "",
        "A name with a hyphen and a word is a variant of its type: another attention, another "
        "rotation, another head.",
        "",
        f"{exact} exact, {len(outcomes) - exact} refused.",
        "",
        "| architecture | model type | outcome | why refused |",
        "| --- | --- | --- | --- |",
    ]
    for name, one in outcomes.items():
        why = _FRAME.sub("", one.detail).replace("|", "\\|")
        why = _FRAME.sub("", why)  # the start and the end
        lines.append(f"| `{name}` | `{ARCHITECTURES[name][0]}` | {one.kind} | {why} |")
    lines += ["", "Not run:", ""]
    lines += [f"- `{name}`: {why}." for name, why in NOT_TINY.items()]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run all and write the page."""
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    outcomes = {}
    with tempfile.TemporaryDirectory() as scratch:
        for name in ARCHITECTURES:
            outcomes[name] = outcome_of(save_tiny(name, Path(scratch) / name))
            sys.stdout.write(f"{name}: {outcomes[name].kind}\n")
    TABLE.write_text(page(outcomes), encoding="utf-8")


if __name__ == "__main__":
    main()
