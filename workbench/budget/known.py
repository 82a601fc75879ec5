"""Sizes of well-known models and figures of devices, for planning without hub and without torch."""

from dataclasses import dataclass

from workbench.budget.shape import Linear, ModelShape, with_name
from workbench.errors import ModelError, unknown_name
from workbench.models.catalog import BASE_MODELS

GIB = 1 << 30
_FLOAT = 4  # bytes


@dataclass(frozen=True, kw_only=True)
class _Gated:
    """A decoder with a gated MLP and without biases, by the figures of its config.

    Attributes:
        layers: Decoder blocks.
        width: Of the embedding.
        heads: For queries, and for keys and values.
        feed_forward: Inner width of the MLP.
        vocabulary: Rows of the embedding.
        context_length: Longest input in tokens.
        head_width: None where the heads share the width out.
        is_tied: Whether output head and embedding are one matrix.
        norms: Norms over the width in each block.
        has_head_norms: Whether queries and keys of each head are normed.
        buffers: Numbers kept beside the parameters; None: the angles of one rotation, twice.
    """

    layers: int
    width: int
    heads: tuple[int, int]
    feed_forward: int
    vocabulary: int
    context_length: int
    head_width: int | None = None
    is_tied: bool = False
    norms: int = 2
    has_head_norms: bool = False
    buffers: int | None = None

    def shape(self, name: str, hub_id: str, model_type: str = "llama") -> ModelShape:
        """Return its shape."""
        (queries, keys), head = self.heads, self.head_width or self.width // self.heads[0]
        sizes = {
            "self_attn.q_proj": (self.width, queries * head),
            "self_attn.k_proj": (self.width, keys * head),
            "self_attn.v_proj": (self.width, keys * head),
            "self_attn.o_proj": (queries * head, self.width),
            "mlp.gate_proj": (self.width, self.feed_forward),
            "mlp.up_proj": (self.width, self.feed_forward),
            "mlp.down_proj": (self.feed_forward, self.width),
        }
        linears = tuple(
            Linear(f"model.layers.*.{part}", *size, self.layers) for part, size in sizes.items()
        )
        norms = self.norms * self.width + (2 * head if self.has_head_norms else 0)
        in_block = sum(linear.weights for linear in linears) + norms
        decoder = self.layers * in_block + self.width
        return ModelShape(
            name=name,
            source=f"config.json of {hub_id} on the Hub",
            model_type=model_type,
            parameters=decoder + self.vocabulary * self.width * (1 if self.is_tied else 2),
            decoder_parameters=decoder,
            linears=linears,
            layers=self.layers,
            width=self.width,
            embedding_width=self.width,
            heads=queries,
            kv_heads=keys,
            head_width=head,
            state_width=2 * self.layers * keys * head,
            inner_width=self.feed_forward,
            activation_copies=3,
            norm_width=self.norms * self.width
            + ((queries + keys) * head if self.has_head_norms else 0),
            has_float_norms=True,
            vocabulary=self.vocabulary,
            context_length=self.context_length,
            buffer_bytes=(head if self.buffers is None else self.buffers) * _FLOAT,
        )


def _smollm2(size: str, layers: int, width: int, heads: tuple[int, int], inner: int) -> ModelShape:
    figures = _Gated(
        layers=layers, width=width, heads=heads, feed_forward=inner, vocabulary=49_152,
        context_length=8192, is_tied=True,
    )  # fmt: skip
    return figures.shape(
        f"smollm2-{size.lower()}-instruct", f"HuggingFaceTB/SmolLM2-{size}-Instruct"
    )


def _gpt_3() -> ModelShape:
    """Return GPT-3: fused queries, keys and values, biases, and learned positions, as in GPT-2."""
    layers, width, heads, vocabulary, context_length = 96, 12_288, 96, 50_257, 2048
    sizes = {
        "attn.c_attn": (width, 3 * width),
        "attn.c_proj": (width, width),
        "mlp.c_fc": (width, 4 * width),
        "mlp.c_proj": (4 * width, width),
    }
    linears = tuple(
        Linear(f"transformer.h.*.{part}", *size, layers, has_bias=True)
        for part, size in sizes.items()
    )
    in_block = sum(linear.weights + linear.outputs for linear in linears) + 4 * width
    decoder = layers * in_block + 2 * width
    return ModelShape(
        name="gpt-3-175b",
        source="Brown et al. 2020, https://arxiv.org/abs/2005.14165, table 2.1; never released",
        model_type="gpt2",
        parameters=decoder + (vocabulary + context_length) * width,
        decoder_parameters=decoder,
        linears=linears,
        layers=layers,
        width=width,
        embedding_width=width,
        heads=heads,
        kv_heads=heads,
        head_width=width // heads,
        state_width=2 * layers * width,
        inner_width=4 * width,
        activation_copies=4,
        norm_width=2 * width,
        has_float_norms=False,
        vocabulary=vocabulary,
        context_length=context_length,
    )


_SHAPES = (
    _smollm2("135M", 30, 576, (9, 3), 1536),
    _smollm2("360M", 32, 960, (15, 5), 2560),
    _smollm2("1.7B", 24, 2048, (32, 32), 8192),
    _Gated(
        layers=18, width=640, heads=(4, 1), feed_forward=2048, vocabulary=262_144,
        context_length=32_768, head_width=256, is_tied=True, norms=4, has_head_norms=True,
        buffers=2 * 256 + 1,  # two rotations, and the factor of the embedding
    ).shape("gemma-3-270m", "google/gemma-3-270m", "gemma3_text"),
    _Gated(
        layers=28, width=1024, heads=(16, 8), feed_forward=3072, vocabulary=151_936,
        context_length=40_960, head_width=128, is_tied=True, has_head_norms=True,
    ).shape("qwen3-0.6b", "Qwen/Qwen3-0.6B", "qwen3"),
    _Gated(
        layers=32, width=4096, heads=(32, 8), feed_forward=14_336, vocabulary=32_000,
        context_length=32_768,
    ).shape("mistral-7b", "mistralai/Mistral-7B-v0.1", "mistral"),
    _Gated(
        layers=32, width=4096, heads=(32, 32), feed_forward=11_008, vocabulary=32_000,
        context_length=4096,
    ).shape("llama-2-7b", "meta-llama/Llama-2-7b-hf"),
    _Gated(
        layers=32, width=4096, heads=(32, 8), feed_forward=14_336, vocabulary=128_256,
        context_length=131_072,
    ).shape("llama-3.1-8b", "meta-llama/Llama-3.1-8B"),
    _Gated(
        layers=40, width=5120, heads=(40, 40), feed_forward=13_824, vocabulary=32_000,
        context_length=4096,
    ).shape("llama-2-13b", "meta-llama/Llama-2-13b-hf"),
    _Gated(
        layers=60, width=6656, heads=(52, 52), feed_forward=17_920, vocabulary=32_000,
        context_length=2048,
    ).shape("llama-33b", "huggyllama/llama-30b"),
    _Gated(
        layers=80, width=8192, heads=(64, 64), feed_forward=22_016, vocabulary=32_000,
        context_length=2048,
    ).shape("llama-65b", "huggyllama/llama-65b"),
    _Gated(
        layers=80, width=8192, heads=(64, 8), feed_forward=28_672, vocabulary=32_000,
        context_length=4096,
    ).shape("llama-2-70b", "meta-llama/Llama-2-70b-hf"),
    _gpt_3(),
)  # fmt: skip
KNOWN_SHAPES = {shape.name: shape for shape in _SHAPES}


def known_model(name: str) -> ModelShape:
    """Return a model of the table, by its name or, for bases of the catalog, by its Hub id.

    Raises:
        ModelError: not in the table.
    """
    by_id = {entry.hub_id: short for short, entry in BASE_MODELS.items() if short in KNOWN_SHAPES}
    if name in by_id:
        return with_name(KNOWN_SHAPES[by_id[name]], name)
    if name not in KNOWN_SHAPES:
        raise ModelError(f"model: {unknown_name('model', name[:80], KNOWN_SHAPES)}")
    return KNOWN_SHAPES[name]


@dataclass(frozen=True)
class Device:
    """One GPU, or the processor.

    Attributes:
        name: Short, as on the command line.
        title: Shown.
        memory_bytes: All there is.
        teraflops: Dense bfloat16 products with sums in 32 bits, per second, in 10^12.
        source: Where the figures come from.
        utilisation: Share of them that training reaches; assumed for GPUs.
        is_gpu: Whether it has memory of its own.
        reserved_bytes: What the driver, its libraries' work space or the system keep.
        layer_seconds: Launching the kernels of one layer in a training step: no step is shorter.
    """

    name: str
    title: str
    memory_bytes: int
    teraflops: float
    source: str
    utilisation: float = 0.3  # between a badly and a well filled card; 4-bit products cost extra
    is_gpu: bool = True
    reserved_bytes: int = 3 * GIB // 4  # context of CUDA and work space of its libraries
    layer_seconds: float = 0.004  # 30 layers in NF4 on an H100 (benchmarks/RESULTS.md): 4 to 5 ms

    @property
    def speed_source(self) -> str:
        """Where the speed comes from and how much of it is taken, in words."""
        if not self.is_gpu:
            return self.source
        floor = f"at least {self.layer_seconds * 1000:g} ms for a layer of a step"
        return f"{self.source}, {self.utilisation:.0%} of it, {floor}"

    @property
    def usable_bytes(self) -> int:
        """What a model may take."""
        return max(0, self.memory_bytes - self.reserved_bytes)


def _card(name: str, title: str, gib: float, teraflops: float, source: str) -> Device:
    return Device(name, title, round(gib * GIB), teraflops, source)


CPU_TERAFLOPS = 0.2  # reached by a training step of the default base on 2 cores
CPU_SOURCE = "benchmarks/RESULTS.md, training step on 2 cores; yours may be several times as fast"
_CARDS = (
    _card("t4", "NVIDIA T4 16 GB", 15.0, 8.1,
          "NVIDIA T4 datasheet, single precision (no bfloat16); 15 GiB with ECC on"),
    _card("rtx-3090", "NVIDIA RTX 3090 24 GB", 24, 71.0, "NVIDIA GA102 whitepaper, table 9"),
    _card("rtx-4090", "NVIDIA RTX 4090 24 GB", 24, 165.2, "NVIDIA Ada whitepaper, table 2"),
    _card("l4", "NVIDIA L4 24 GB", 22.5, 121.0, "NVIDIA L4 datasheet, half of the sparse figure"),
    _card("v100-32", "NVIDIA V100 32 GB", 32, 15.7,
          "NVIDIA V100 datasheet, single precision (no bfloat16)"),
    _card("a100-40", "NVIDIA A100 40 GB", 40, 312.0, "NVIDIA A100 datasheet"),
    _card("a6000", "NVIDIA RTX A6000 48 GB", 48, 154.8,
          "NVIDIA RTX A6000 datasheet, half of the sparse figure"),
    _card("l40s", "NVIDIA L40S 48 GB", 45.0, 362.0,
          "NVIDIA L40S datasheet, half of the sparse figure; 45 GiB with ECC on"),
    _card("a100-80", "NVIDIA A100 80 GB", 80, 312.0, "NVIDIA A100 datasheet"),
    _card("h100-80", "NVIDIA H100 SXM 80 GB", 80, 989.0,
          "NVIDIA H100 datasheet, half of the sparse figure"),
)  # fmt: skip
DEVICES = {device.name: device for device in _CARDS}


def any_gpu(gib: float) -> Device:
    """Return a card of that memory and of middling speed, for questions that name no card."""
    return Device(
        name=f"{gib:g} GB",
        title=f"a GPU with {gib:g} GB",
        memory_bytes=round(gib * GIB),
        teraflops=125.0,
        source="no card named: 125 TFLOPS assumed",
    )


def processor(memory_bytes: int) -> Device:
    """Return a processor with that much memory."""
    return Device(
        name="cpu",
        title=f"a processor with {memory_bytes / GIB:.0f} GB",
        memory_bytes=memory_bytes,
        teraflops=CPU_TERAFLOPS,
        source=CPU_SOURCE,
        utilisation=1.0,
        is_gpu=False,
        reserved_bytes=GIB,  # interpreter, libraries, and something for the system
        layer_seconds=0.0,
    )
