"""What a run took, as its record says it."""

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
)

Figure = float | int | None


class RunCost(BaseModel):
    """What a run took; None where a figure does not apply or is not known.

    A figure that was never given is not written, so that a record says as much as it knows; one
    that has no field here, from a record of another version, is kept as it is.

    Attributes:
        trained_parameters: How many were learned.
        stored_bytes: Size of the adapter.
        train_seconds: With the evaluations on dev.
        best_step: The step that was kept.
        learning_rate: At its peak.
        dev_evaluations: How often dev was scored, `dev_items` of its items each time.
        dev_accuracy: Accuracy on dev of the step that was kept.
        dev_loss: Its mean loss on dev, in nats.
        peak_memory_bytes: The process on a processor, what torch allocated on a GPU.
        labelled_examples: Rows whose labels were used: those that were learned from or shown, and
            the dev rows that chose anything.
        prompt_tokens_mean: Tokens of a prompt, mean over the test items.
        generated_tokens_mean: Tokens written for an item, mean over the test items.
        milliseconds_per_item: Time of an answer, mean over the test items.
    """

    model_config = ConfigDict(extra="allow", frozen=True)
    __pydantic_extra__: dict[str, Figure] = Field(init=False)

    trained_parameters: int | None = None
    stored_bytes: int | None = None
    train_seconds: float | None = None
    best_step: int | None = None
    learning_rate: float | None = None
    dev_evaluations: int | None = None
    dev_items: int | None = None
    dev_accuracy: float | None = None
    dev_loss: float | None = None
    peak_memory_bytes: int | None = None
    labelled_examples: int | None = None
    prompt_tokens_mean: float | None = None
    generated_tokens_mean: float | None = None
    milliseconds_per_item: float | None = None

    @model_serializer(mode="wrap")
    def _only_given(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Figure]:
        return {name: v for name, v in serialise(self).items() if name in self.model_fields_set}

    @property
    def figures(self) -> dict[str, Figure]:
        """The figures that were given, by name, for tables that show all of them."""
        return self.model_dump()
