"""Build the documentation as a site: `make site` writes `site/`, which needs no network.

The pages are the repository's own Markdown, copied as it lies, so that a link between two pages
holds in the repository and in the site. `docs/mkdocs.yml` says how it looks, SECTIONS in which
order pages come; one that is in no section stands under "More".
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
SECTIONS: Mapping[str, Sequence[str]] = {
    "Start": ("README.md", "docs/quick-start.md", "docs/first-hour.md", "docs/page.md"),
    "How to": (
        "docs/for-a-prompt-engineer.md",
        "docs/for-a-teacher.md",
        "docs/for-a-researcher.md",
        "docs/your-data.md",
        "docs/grid.md",
        "docs/cluster.md",
        "docs/training-on-several-processes.md",
    ),
    "Understand": ("docs/concepts.md", "docs/methods.md", "docs/glossary.md", "docs/limits.md"),
    "What it found": ("docs/results.md", "docs/figures.md", "docs/LOG.md"),
    "Look up": ("docs/commands.md", "docs/python.md", "docs/architectures.md"),
    "Shown by measuring": (
        "docs/nulls.md",
        "docs/torture.md",
        "docs/soak.md",
        "docs/fuzz.md",
        "benchmarks/RESULTS.md",
    ),
    "Project": (
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "docs/threats.md",
        "CHANGELOG.md",
    ),
    "Decisions": ("docs/decisions/*.md",),
}
"""Title of a section to its pages, as paths or patterns; what does not exist is left out."""

_OUTSIDE = ("*.md", "benchmarks/RESULTS.md")  # pages that are not below docs/
_NO_PAGES = shutil.ignore_patterns("*.py", "*.yml", "__pycache__")


def contents(root: Path) -> dict[str, list[str]]:
    """Return the sections with those of their pages that exist, and "More" with all others."""
    everything = [path.relative_to(root).as_posix() for path in _pages(root)]
    found: dict[str, list[str]] = {}
    for title, patterns in SECTIONS.items():
        paths = [path for pattern in patterns for path in sorted(root.glob(pattern))]
        found[title] = [path.relative_to(root).as_posix() for path in paths]
    placed = {path for paths in found.values() for path in paths}
    found["More"] = [path for path in everything if path not in placed]
    return {title: paths for title, paths in found.items() if paths}


def build(root: Path, scratch: Path, site: Path) -> None:
    """Build the site of a repository.

    Args:
        root: Of the repository.
        scratch: Emptied, then holds copies of the pages and the whole configuration.
        site: Folder that becomes the site; what was there goes.

    Raises:
        subprocess.CalledProcessError: the pages make no site; what is wrong was printed.
    """
    shutil.rmtree(scratch, ignore_errors=True)
    pages = scratch / "pages"
    shutil.copytree(root / "docs", pages / "docs", ignore=_NO_PAGES)
    for path in (path for pattern in _OUTSIDE for path in root.glob(pattern)):
        copy = pages / path.relative_to(root)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    settings = yaml.safe_load((root / "docs" / "mkdocs.yml").read_text(encoding="utf-8"))
    settings["nav"] = [{title: paths} for title, paths in contents(root).items()]
    settings |= {"docs_dir": str(pages), "site_dir": str(site.resolve())}
    config = scratch / "mkdocs.yml"
    config.write_text(yaml.safe_dump(settings, allow_unicode=True), encoding="utf-8")
    # Not --quiet: what is not logged is not counted, and --strict ends the build by counting.
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", str(config)]
    quiet = os.environ | {"NO_MKDOCS_2_WARNING": "1"}  # docs/decisions/0013 knows about version 2
    subprocess.run(command, check=True, env=quiet)  # noqa: S603 - our own program and files


def _pages(root: Path) -> list[Path]:
    """Return every Markdown file that becomes a page."""
    outside = [path for pattern in _OUTSIDE for path in root.glob(pattern)]
    return [*outside, *sorted((root / "docs").rglob("*.md"))]


if __name__ == "__main__":
    try:
        build(ROOT, ROOT / "build" / "site", ROOT / "site")
    except subprocess.CalledProcessError as error:
        sys.exit(error.returncode)
