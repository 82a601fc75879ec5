"""What children of the fork server need, imported once; nothing is computed, no thread started."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import workbench.analysis.report
import workbench.cli
import workbench.commands.shared.running
import workbench.models.engine
import workbench.models.loading
import workbench.runs.execute
import workbench.service.worker  # noqa: F401  the last of those that are only to be there
