"""Whether guessing the next tokens from the prompt would pay: tokens accepted against their price.

Run alone: python benchmarks/lookup.py. Nothing here guesses while it decodes: greedy answers are
made as ever, and counted is what a guess at each token would have been worth. The price of checking
a guess is measured as one step of as many rows, which reads the weights as often.

Source of the idea: Saxena 2023, https://github.com/apoorvumang/prompt-lookup-decoding, and
transformers' `prompt_lookup_num_tokens`.
"""

import argparse
import json
import time
from collections.abc import Sequence

import torch

from material import DATA, load_engine
from measuring import Figure, machine
from workbench.memory import keep_freed_memory
from workbench.models.base import Conditioning, GenerationOptions, Prefix
from workbench.models.engine import Engine
from workbench.models.token_tree import TokenTree

_ITEMS, _NEW_TOKENS = 24, 48
_GUESSED = (2, 4, 8)  # tokens at a time
_LONGEST = 3  # tokens that have to stand before, looked for from there downwards
_STEPS = 20
_DIALOGUE = (
    "Customer: Hello, my parcel {number} has not arrived and the tracking page is empty.",
    "Agent: I am sorry to hear that. Could you tell me your postcode, please?",
    "Customer: It is {place}. I ordered the {thing} nine days ago.",
    "Agent: Thank you. The {thing} left our warehouse on {day} and is held at the depot in {city}.",
    "Customer: Can somebody bring it on {other}? I am at home all day.",
    "Agent: Yes, I have asked the depot in {city} to deliver parcel {number} on {other}.",
)
_WORDS = {
    "place": ("NE4 8XA", "BS1 3TR", "LS6 2QD"),
    "thing": ("blue kettle", "desk lamp", "winter coat", "coffee grinder"),
    "day": ("Monday", "Tuesday", "Wednesday"),
    "other": ("Thursday", "Friday", "Saturday"),
    "city": ("Leeds", "Bristol", "Newcastle"),
}


def measure(engine: Engine) -> list[Figure]:
    """Return the speed-up that guessing would bring, by kind of text and tokens at a time."""
    prices = {tokens: _price(engine, tokens + 1, 1) for tokens in _GUESSED}
    side_by_side, fewest = 5, min(_GUESSED)
    figures = [
        Figure(
            f"lookup: a step that checks {fewest} guesses of {side_by_side} rows / a plain one",
            _price(engine, side_by_side * (fewest + 1), side_by_side),
        )
    ]
    for name, prompts in _texts().items():
        answers = _answers(engine, prompts)
        for tokens in _GUESSED:
            written, plain, checked = _counted(answers, tokens)
            cost = plain + checked * prices[tokens]
            figures.append(
                Figure(
                    f"lookup: speed on {name} with {tokens} guessed tokens / without",
                    written / cost,
                    details=f"{written} tokens by {plain} plain steps and {checked} that check "
                    f"{tokens}, at {prices[tokens]:.2f} of a plain one each",
                )
            )
    return figures


def _texts() -> dict[str, list[str]]:
    """Return prompts by kind; those of files are left out where these are not at hand."""
    found = {"dialogues": [_dialogue(number) for number in range(_ITEMS)]}
    facts, sums = DATA / "e2e_nlg" / "dev.jsonl", DATA / "gsm8k" / "dev.jsonl"
    if facts.is_file():
        rows = [json.loads(line) for line in facts.read_text("utf-8").splitlines()[:_ITEMS]]
        found["E2E facts"] = [
            "Describe the restaurant with all the given attributes.\n"
            f"Attributes: {row['source']}\nDescription:"
            for row in rows
        ]
    if sums.is_file():
        rows = [json.loads(line) for line in sums.read_text("utf-8").splitlines()[:_ITEMS]]
        found["sums"] = [f"Question: {row['question']}\nAnswer:" for row in rows]
    return found


def _dialogue(number: int) -> str:
    chosen = {name: words[(number + place) % len(words)]
              for place, (name, words) in enumerate(_WORDS.items())}  # fmt: skip
    told = "\n".join(_DIALOGUE).format(number=4000 + 17 * number, **chosen)
    return f"Summarise the dialogue in two sentences.\n\n{told}\n\nSummary:"


def _answers(engine: Engine, prompts: Sequence[str]) -> list[tuple[list[int], list[int]]]:
    """Return the tokens of each prompt and of its greedy answer."""
    ids = [tuple(engine.tokenizer(prompt)["input_ids"]) for prompt in prompts]
    rows = [Conditioning(Prefix(), one) for one in ids]
    made = engine.generate(rows, GenerationOptions(max_new_tokens=_NEW_TOKENS))
    return [(list(one), list(text.token_ids)) for one, text in zip(ids, made, strict=True)]


def _counted(answers: Sequence[tuple[list[int], list[int]]], guessed: int) -> tuple[int, int, int]:
    """Return tokens written, plain steps, and steps that check a guess, of all answers."""
    written = plain = checked = 0
    for before, answer in answers:
        text, done = list(before), 0
        while done < len(answer):
            guess = _guess(text, guessed)
            hits = 0
            for one, right in zip(guess, answer[done:-1], strict=False):
                if one != right:
                    break
                hits += 1
            plain, checked = plain + (not guess), checked + bool(guess)
            text += answer[done : done + hits + 1]
            done += hits + 1
        written += len(answer)
    return written, plain, checked


def _guess(text: Sequence[int], size: int) -> Sequence[int]:
    """Return what followed the last tokens of a text where they stood before, the latest place."""
    for length in range(_LONGEST, 0, -1):
        last = text[-length:]
        for place in range(len(text) - length - 1, -1, -1):
            if text[place : place + length] == last:
                return text[place + length : place + length + size]
    return ()


def _price(engine: Engine, rows: int, fewer: int) -> float:
    """Return the time of a step of so many rows over that of fewer."""
    seconds = {fewer: 0.0, rows: 0.0}
    with torch.inference_mode():
        for size in seconds:
            trees = [TokenTree.chain(range(5, 69))] * size
            run = engine.run(trees, [None] * size, [None] * size, room=_STEPS + 2)
            cache, tokens = run.decoding_cache(), torch.full((size,), 11)
            engine.forward.step(tokens, cache)
            began = time.perf_counter()
            for _ in range(_STEPS):
                engine.forward.step(tokens, cache)
            seconds[size] = time.perf_counter() - began
    return seconds[rows] / seconds[fewer]


def main() -> None:
    """Print the rows of a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--compute-dtype", default="auto")
    asked = parser.parse_args()
    keep_freed_memory()
    engine = load_engine(compute_dtype=asked.compute_dtype)
    print(machine(engine.info))
    for figure in measure(engine):
        print(figure.row())


if __name__ == "__main__":
    main()
