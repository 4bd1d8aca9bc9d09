"""Every small mistake that could be made in a source file, one at a time."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator

OPPOSITE: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}


def mutants(source: str) -> Iterator[tuple[int, str, str]]:
    """Each mutant: the line, what was done there, the whole changed source."""
    tree = ast.parse(source)
    ignored = _ignored(tree)
    for number, node in enumerate(ast.walk(tree)):
        if id(node) in ignored:
            continue
        for what in _changes(node):
            changed = copy.deepcopy(tree)
            twin = next(other for place, other in enumerate(ast.walk(changed)) if place == number)
            _change(twin, what)
            yield getattr(node, "lineno", 0), what, ast.unparse(ast.fix_missing_locations(changed))


def _ignored(tree: ast.AST) -> set[int]:
    """What no behaviour hangs on: docstrings, annotations and the text of messages."""
    roots: list[ast.AST] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            roots.append(node)
        if isinstance(node, ast.JoinedStr):
            roots.append(node)
        if isinstance(node, ast.AnnAssign | ast.arg) and node.annotation is not None:
            roots.append(node.annotation)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            roots.extend(part for part in (node.returns, *node.decorator_list) if part is not None)
        if isinstance(node, ast.ClassDef):
            roots.extend(node.decorator_list)
    return {id(node) for root in roots for node in ast.walk(root)}


def _changes(node: ast.AST) -> list[str]:
    match node:
        case ast.Compare(ops=[operator]) if type(operator) in OPPOSITE:
            return [f"{type(operator).__name__} to {OPPOSITE[type(operator)].__name__}"]
        case ast.BoolOp():
            return ["and to or" if isinstance(node.op, ast.And) else "or to and"]
        case ast.UnaryOp(op=ast.Not()):
            return ["not removed"]
        case ast.Constant(value=bool()):
            return ["constant inverted"]
        case ast.Constant(value=int() | float() as number):
            return [f"{number} plus one"]
        case ast.Return(value=value) if value is not None and not _is_none(value):
            return ["returned None"]
        case ast.Expr() | ast.Assign() | ast.AugAssign() | ast.Raise():
            return ["statement removed"]
    return []


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _change(node: ast.AST, what: str) -> None:
    match node:
        case ast.Compare():
            node.ops = [OPPOSITE[type(node.ops[0])]()]
        case ast.BoolOp():
            node.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        case ast.UnaryOp():
            _become(node, ast.Call(func=ast.Name("bool", ast.Load()), args=[node.operand], keywords=[]))
        case ast.Constant(value=bool() as value):
            node.value = not value
        case ast.Constant(value=int() | float() as number):
            node.value = number + 1
        case ast.Return():
            node.value = ast.Constant(None)
        case _:
            _become(node, ast.Pass())


def _become(node: ast.AST, other: ast.AST) -> None:
    node.__class__ = other.__class__  # its place in its parent stays
    node.__dict__ = {**other.__dict__, "lineno": getattr(node, "lineno", 1), "col_offset": 0}
