"""A stranger finds their way: short modules, public names explained, packages that hold no code."""

import ast

import pytest

from tests.project.source import Module, all_modules, modules
from tests.support.longest import LONGEST_FIRST, TESTS

LINES_AIMED_AT = 300
LINES_AT_MOST = 320  # docstrings grow between two refactorings
FORBIDDEN_NAMES = {"base", "common", "helper", "helpers", "misc", "util", "utils"}
LAZY_PACKAGE = "manager/__init__.py"  # `from manager import Manager` without loading it for the shim


def test_modules_stay_short() -> None:
    """One concept, one file: none is longer than 320 lines, and a long one is the exception."""
    assert {m.path: m.line_count for m in _everything() if m.line_count > LINES_AT_MOST} == {}
    long = [module.path for module in _everything() if module.line_count > LINES_AIMED_AT]
    assert len(long) <= 3, f"over {LINES_AIMED_AT} lines: {long}"


def test_every_module_has_a_name_that_says_something() -> None:
    """A file called `utils` holds what nobody could name."""
    assert [m.path for m in _everything() if m.name.rpartition(".")[2] in FORBIDDEN_NAMES] == []


def test_the_files_that_are_begun_first_are_there() -> None:
    """A renamed one would be begun last, and be waited for."""
    assert [name for name in LONGEST_FIRST if not (TESTS / name).is_file()] == []


def test_every_public_name_is_explained() -> None:
    """Every module, and every public function and class in it, says what the caller gets."""
    silent = []
    for module in all_modules():
        if ast.get_docstring(module.tree) is None:
            silent.append(module.path)
        silent.extend(
            f"{module.path}:{node.lineno} {node.name}"
            for node in module.tree.body
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            and not node.name.startswith("_")
            and ast.get_docstring(node) is None
        )
    assert silent == []


def test_every_test_states_its_rule() -> None:
    """A test's docstring is the specification, in the user's words."""
    silent = [
        f"{module.path}:{node.lineno} {node.name}"
        for module in modules("tests")
        for node in ast.walk(module.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
        and ast.get_docstring(node) is None
    ]
    assert silent == []


@pytest.mark.parametrize(
    "module", [m for m in all_modules() if m.path.endswith("__init__.py")], ids=lambda module: module.path
)
def test_packages_hold_a_docstring_only(module: Module) -> None:
    """Importing an event must not import SQLAlchemy, so a package re-exports nothing."""
    assert ast.get_docstring(module.tree), f"{module.path} has no docstring"
    code = module.tree.body[1:]
    if module.path == LAZY_PACKAGE:
        code = [node for node in code if not _is_lazy(node)]
    assert [ast.unparse(node) for node in code] == []


def _everything() -> list[Module]:
    return [*all_modules(), *modules("migrations"), *modules("tests"), *modules("benchmarks")]


def _is_lazy(node: ast.stmt) -> bool:
    """Whether the statement of a package postpones its imports: tables, `__getattr__`, typing."""
    match node:
        case ast.FunctionDef(name="__getattr__" | "__dir__") | ast.Assign() | ast.AnnAssign():
            return True
        case ast.If(test=ast.Name(id="TYPE_CHECKING")):
            return True
        case ast.Import(names=[ast.alias(name="importlib" | "typing")]):
            return True
        case ast.ImportFrom(module="importlib" | "typing" | "types"):
            return True
    return False
