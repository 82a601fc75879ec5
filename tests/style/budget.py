"""What a reader is asked to bear at most: `python tests/style/budget.py`, part of `make check`.

Prints a line for everything in the package beyond the budget and exits with 1 if there is any.
Nothing is imported; every figure comes from the syntax tree.
"""

import ast
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "workbench"

MODULE_LINES = 500
FUNCTION_LINES = 60
ARGUMENTS = 8
ASSERTS = 10  # of the package; each is something the types cannot say
# Of the package; each is a place where any error must end, because nobody above could show it:
# the page's handlers, and the record of a run.
BROAD_EXCEPTS = 2
# Where a signature is what people type or call: commands, and the endpoints for other programs.
SHOWN_SIGNATURES = ("commands/", "cli.py", "ui/api.py")

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, order=True)
class Finding:
    """Something beyond the budget, and where."""

    path: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.text}"


@dataclass(frozen=True)
class Module:
    """A file of the package, as its path inside and its syntax."""

    path: str
    text: str
    tree: ast.Module

    def found(self, node: ast.AST, text: str) -> Finding:
        """Return a finding at a node."""
        return Finding(self.path, getattr(node, "lineno", 1), text)


def findings(package: Path) -> list[Finding]:
    """Return everything in a package's folder that is beyond the budget."""
    modules = []
    for path in sorted(package.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        modules.append(Module(path.relative_to(package).as_posix(), text, ast.parse(text)))
    found: list[Finding] = []
    for module in modules:
        found += [*_too_long(module), *_too_wide(module), *_undocumented(module)]
    found += _too_many(modules, ASSERTS, "assert", lambda node: isinstance(node, ast.Assert))
    found += _too_many(modules, BROAD_EXCEPTS, "broad except", _is_broad)
    return sorted(found)


def _too_long(module: Module) -> Iterator[Finding]:
    lines = len(module.text.splitlines())
    if lines > MODULE_LINES:
        yield Finding(module.path, 1, f"module of {lines} lines; at most {MODULE_LINES}")
    for function in _functions(module):
        lines = (function.end_lineno or 0) - function.lineno + 1
        if lines > FUNCTION_LINES:
            text = f"'{function.name}' has {lines} lines; at most {FUNCTION_LINES}"
            yield module.found(function, text)


def _too_wide(module: Module) -> Iterator[Finding]:
    if module.path.startswith(SHOWN_SIGNATURES):
        return
    for function in _functions(module):
        given = function.args
        names = [one.arg for one in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
        number = len([name for name in names if name not in ("self", "cls")])
        if number > ARGUMENTS:
            text = f"'{function.name}' takes {number} arguments; at most {ARGUMENTS}"
            yield module.found(function, text)


def _undocumented(module: Module) -> Iterator[Finding]:
    """Yield what others may use and has no docstring."""
    name = Path(module.path).stem
    if name.startswith("_") and name not in ("__init__", "__main__"):
        return
    if ast.get_docstring(module.tree) is None:
        yield module.found(module.tree, "module without a docstring")
    for node, full_name in _public(module.tree, ""):
        if ast.get_docstring(node) is None:
            yield module.found(node, f"'{full_name}' has no docstring")


def _public(parent: ast.AST, prefix: str) -> Iterator[tuple[Function | ast.ClassDef, str]]:
    """Yield public functions and classes, down into classes but not into functions."""
    for node in ast.iter_child_nodes(parent):
        if isinstance(node, Function | ast.ClassDef):
            if not node.name.startswith("_"):
                yield node, prefix + node.name
                if isinstance(node, ast.ClassDef):
                    yield from _public(node, f"{prefix}{node.name}.")
        elif isinstance(node, ast.stmt | ast.ExceptHandler):  # the branches of an `if` or a `try`
            yield from _public(node, prefix)


def _too_many(
    modules: list[Module], most: int, what: str, is_one: Callable[[ast.AST], bool]
) -> list[Finding]:
    """Return all places of something there are too many of, because any of them may go."""
    found = [(module, node) for module in modules for node in ast.walk(module.tree) if is_one(node)]
    if len(found) <= most:
        return []
    text = f"{what}; the package has {len(found)}, at most {most}"
    return [module.found(node, text) for module, node in found]


def _is_broad(node: ast.AST) -> bool:
    if not isinstance(node, ast.ExceptHandler):
        return False
    kinds = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
    names = [kind.id if isinstance(kind, ast.Name) else kind for kind in kinds]
    return any(name in (None, "Exception", "BaseException") for name in names)


def _functions(module: Module) -> Iterator[Function]:
    return (node for node in ast.walk(module.tree) if isinstance(node, Function))


def main() -> int:
    """Print what is beyond the budget; return whether there is any, as an exit code."""
    found = findings(PACKAGE)
    for finding in found:
        sys.stdout.write(f"{PACKAGE.name}/{finding}\n")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
