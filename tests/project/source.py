"""The source tree as data: which modules there are and what each imports. Reads files, imports nothing."""

import ast
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("eventstore", "projections", "manager")
NOT_SOURCE = {"__pycache__", "build", "dist", "node_modules", "results"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """One Python file: its path from the root, its dotted name and its syntax tree."""

    path: str
    name: str
    tree: ast.Module
    line_count: int


@cache
def modules(package: str) -> tuple[Module, ...]:
    """Every module under the folder `package`, by path."""
    return tuple(_read(path) for path in sorted((ROOT / package).rglob("*.py")) if _is_source(path))


def all_modules() -> tuple[Module, ...]:
    """Every module of the three packages."""
    return tuple(module for package in PACKAGES for module in modules(package))


def by_name() -> dict[str, Module]:
    """The modules of the three packages by dotted name."""
    return {module.name: module for module in all_modules()}


def text_files() -> Iterator[Path]:
    """Every text file that belongs to the project, hidden folders and built ones left out."""
    for path in sorted(ROOT.rglob("*")):
        if path.is_file() and _is_source(path) and path.name != ".git":  # a file in a linked work tree
            yield path


def imported_names(module: Module) -> set[str]:
    """Dotted names that the module imports anywhere, also inside functions and under TYPE_CHECKING.

    `from a.b import c` gives both `a.b` and `a.b.c`, as `c` may be a module.
    """
    return _names(ast.walk(module.tree), module)


def required_names(module: Module) -> set[str]:
    """As `imported_names`, without what is imported for types alone or with an `except ImportError` beside it."""
    return _names(_required_nodes(module.tree), module)


def reached_from(start: Module) -> dict[str, Module]:
    """The module and every module of ours that importing it loads, packages included, by dotted name."""
    known = by_name()
    reached: dict[str, Module] = {}
    waiting = [start.name]
    while waiting:
        name = waiting.pop()
        if name in reached or name not in known:
            continue
        reached[name] = known[name]
        waiting.extend(required_names(known[name]))
        waiting.append(name.rpartition(".")[0])
    return reached


def foreign_imports(module: Module) -> set[str]:
    """Top-level names that the module cannot do without, of neither the standard library nor our packages."""
    tops = {name.partition(".")[0] for name in required_names(module)}
    return tops - set(sys.stdlib_module_names) - set(PACKAGES)


def _is_source(path: Path) -> bool:
    parts = path.relative_to(ROOT).parts
    return not any((part.startswith(".") and part != ".ci") or part in NOT_SOURCE for part in parts[:-1])


def _read(path: Path) -> Module:
    text = path.read_text(encoding="utf-8")
    relative = path.relative_to(ROOT)
    parts = relative.with_suffix("").parts
    name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    return Module(path=str(relative), name=name, tree=ast.parse(text), line_count=len(text.splitlines()))


def _names(nodes: Iterable[ast.AST], module: Module) -> set[str]:
    names: set[str] = set()
    package = module.name if module.path.endswith("__init__.py") else module.name.rpartition(".")[0]
    for node in nodes:
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = _absolute(node, package)
            names.add(origin)
            names.update(f"{origin}.{alias.name}" for alias in node.names)
    return names


def _required_nodes(node: ast.AST) -> Iterator[ast.AST]:
    yield node
    match node:
        case ast.If(test=ast.Name(id="TYPE_CHECKING")):
            children: Iterable[ast.AST] = node.orelse
        case ast.Try(handlers=handlers) if any(_catches_import_error(handler) for handler in handlers):
            children = [*node.handlers, *node.orelse, *node.finalbody]
        case _:
            children = ast.iter_child_nodes(node)
    for child in children:
        yield from _required_nodes(child)


def _catches_import_error(handler: ast.ExceptHandler) -> bool:
    return isinstance(handler.type, ast.Name) and handler.type.id in {"ImportError", "ModuleNotFoundError"}


def _absolute(node: ast.ImportFrom, package: str) -> str:
    if not node.level:
        return node.module or ""
    base = package.split(".")[: len(package.split(".")) - node.level + 1]
    return ".".join([*base, node.module] if node.module else base)
