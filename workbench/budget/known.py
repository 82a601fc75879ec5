"""Configs of well-known models and figures of devices, for planning where there is no hub."""

from dataclasses import dataclass, replace

from workbench.budget.shape import ModelShape

GIB = 1 << 30
_LLAMA = "config.json of {} on the Hub"


def _llama(
    name: str,
    hub_id: str,
    *,
    layers: int,
    width: int,
    heads: tuple[int, int],
    feed_forward: int,
    vocabulary: int,
    context_length: int,
) -> ModelShape:
    """Return a Llama-like model whose heads (queries; keys and values) share the width out."""
    return ModelShape(
        name=name,
        source=_LLAMA.format(hub_id),
        family="mistral" if "mistral" in name else "llama",
        layers=layers,
        width=width,
        heads=heads[0],
        kv_heads=heads[1],
        head_width=width // heads[0],
        feed_forward=feed_forward,
        vocabulary=vocabulary,
        context_length=context_length,
        is_tied=False,
        file_dtype="bfloat16",
    )


def _smollm2(
    size: str, *, layers: int, width: int, heads: tuple[int, int], feed_forward: int
) -> ModelShape:
    shape = _llama(
        f"smollm2-{size.lower()}-instruct",
        f"HuggingFaceTB/SmolLM2-{size}-Instruct",
        layers=layers,
        width=width,
        heads=heads,
        feed_forward=feed_forward,
        vocabulary=49_152,
        context_length=8192,
    )
    return replace(shape, is_tied=True)


_SHAPES = (
    _smollm2("135M", layers=30, width=576, heads=(9, 3), feed_forward=1536),
    _smollm2("360M", layers=32, width=960, heads=(15, 5), feed_forward=2560),
    _smollm2("1.7B", layers=24, width=2048, heads=(32, 32), feed_forward=8192),
    ModelShape(
        name="gemma-3-270m", source=_LLAMA.format("google/gemma-3-270m"), family="gemma3_text",
        layers=18, width=640, heads=4, kv_heads=1, head_width=256, feed_forward=2048,
        vocabulary=262_144, context_length=32_768, is_tied=True, file_dtype="bfloat16",
    ),
    ModelShape(
        name="qwen3-0.6b", source=_LLAMA.format("Qwen/Qwen3-0.6B"), family="qwen3", layers=28,
        width=1024, heads=16, kv_heads=8, head_width=128, feed_forward=3072, vocabulary=151_936,
        context_length=40_960, is_tied=True, file_dtype="bfloat16",
    ),
    _llama("mistral-7b", "mistralai/Mistral-7B-v0.1", layers=32, width=4096, heads=(32, 8),
           feed_forward=14_336, vocabulary=32_000, context_length=32_768),
    _llama("llama-2-7b", "meta-llama/Llama-2-7b-hf", layers=32, width=4096, heads=(32, 32),
           feed_forward=11_008, vocabulary=32_000, context_length=4096),
    _llama("llama-3.1-8b", "meta-llama/Llama-3.1-8B", layers=32, width=4096, heads=(32, 8),
           feed_forward=14_336, vocabulary=128_256, context_length=131_072),
    _llama("llama-2-13b", "meta-llama/Llama-2-13b-hf", layers=40, width=5120, heads=(40, 40),
           feed_forward=13_824, vocabulary=32_000, context_length=4096),
    _llama("llama-33b", "huggyllama/llama-30b", layers=60, width=6656, heads=(52, 52),
           feed_forward=17_920, vocabulary=32_000, context_length=2048),
    _llama("llama-65b", "huggyllama/llama-65b", layers=80, width=8192, heads=(64, 64),
           feed_forward=22_016, vocabulary=32_000, context_length=2048),
    _llama("llama-2-70b", "meta-llama/Llama-2-70b-hf", layers=80, width=8192, heads=(64, 8),
           feed_forward=28_672, vocabulary=32_000, context_length=4096),
    ModelShape(
        name="gpt-3-175b",
        source="Brown et al. 2020, https://arxiv.org/abs/2005.14165, table 2.1; never released",
        family="gpt2", layers=96, width=12_288, heads=96, kv_heads=96, head_width=128,
        feed_forward=49_152, vocabulary=50_257, context_length=2048, is_tied=True,
        file_dtype="float16",
    ),
)  # fmt: skip
KNOWN_SHAPES = {shape.name: shape for shape in _SHAPES}


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
