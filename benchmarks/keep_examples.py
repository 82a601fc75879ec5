"""Copy the adapters of `experiments/examples.yaml` into the package; `make examples` calls it.

They are stored in bfloat16, half the size; what that changes is measured like any other adapter.
"""

import json
import shutil
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from workbench.runs.store import RunStore

_TARGET = Path(__file__).parents[1] / "workbench" / "examples"
_FOLDERS = {"prompt_tuning": "soft_prompt", "lora": "lora"}


def main(runs: Path) -> None:
    """Copy the finished trained runs of a folder."""
    for run in RunStore(runs).runs():
        folder = _FOLDERS.get(run.spec.method)
        if folder is None or run.record.status != "finished":
            continue
        target = _TARGET / folder
        target.mkdir(parents=True, exist_ok=True)
        tensors = load_file(run.adapter_folder / "adapter_model.safetensors")
        halved = {name: tensor.to(torch.bfloat16) for name, tensor in tensors.items()}
        save_file(halved, target / "adapter_model.safetensors", metadata={"format": "pt"})
        config = json.loads((run.adapter_folder / "adapter_config.json").read_text())
        (target / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n")
        shutil.copyfile(run.adapter_folder / "README.md", target / "README.md")
        accuracy = run.record.metrics["accuracy"].value
        print(f"{folder}: {run.record.run_id}, accuracy {accuracy}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
