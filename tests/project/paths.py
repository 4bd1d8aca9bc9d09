"""On which paths through a function an effect has no crash point beside it."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache

from tests.project.effects import POINT, Found, Function, functions, is_effect, name_of, own_calls
from tests.project.source import Module, all_modules

_AT_A_POINT: Found = (0, POINT)
_AT_THE_START: Found = (0, "")


def bare(body: ast.Module | Function, module: Module, *, without: ast.Call | None = None) -> set[Found]:
    """(line, call) of each effect that has no point before or after it on some path; `without`: a point to pass over.

    Between two effects, before the first one and after the last one of each path there has to be a point.
    """
    paths = _Paths(module, without)
    paths.leave(paths.block(body.body, {_AT_THE_START}))
    return paths.bare


@dataclass
class _Frame:
    """Where paths of a try, a loop or a function go that leave it before its end."""

    raised: set[Found] = field(default_factory=set)
    returned: set[Found] = field(default_factory=set)
    broken: set[Found] = field(default_factory=set)
    continued: set[Found] = field(default_factory=set)


class _Paths:
    """A walk over all paths. Its state is a set: on each path to here, the last effect or point, or the start."""

    def __init__(self, module: Module, without: ast.Call | None) -> None:
        self._module = module
        self._without = without
        self._tries: list[_Frame] = []
        self._loops: list[_Frame] = []
        self.bare: set[Found] = set()

    def leave(self, state: set[Found]) -> None:
        """The function is left, by way of the innermost `finally`."""
        if self._tries:
            self._tries[-1].returned |= state
        else:
            self.bare |= state - {_AT_A_POINT, _AT_THE_START}

    def block(self, statements: Iterable[ast.stmt], state: set[Found]) -> set[Found]:
        """The state after them; empty where nothing gets."""
        for statement in statements:
            if not state:
                break
            state = self._statement(statement, state)
        return state

    def _statement(self, statement: ast.stmt, state: set[Found]) -> set[Found]:
        match statement:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                return state
            case ast.ClassDef(body=body):
                return self.block(body, state)
            case ast.If(test=test, body=body, orelse=orelse):
                state = self._calls(test, state)
                return self.block(body, state) | self.block(orelse, state)
            case ast.For() | ast.AsyncFor() | ast.While():
                return self._loop(statement, state)
            case ast.Try() | ast.TryStar():
                return self._try(statement, state)
            case ast.With(items=items, body=body) | ast.AsyncWith(items=items, body=body):
                return self._with(items, body, state)
            case ast.Match(subject=subject, cases=cases):
                state = self._calls(subject, state)
                return state.union(*(self.block(case.body, state) for case in cases))
            case ast.Return():
                self.leave(self._calls(statement, state))
                return set()
            case ast.Raise():
                state = self._calls(statement, state)
                if self._tries:
                    self._tries[-1].raised |= state
                else:
                    self.leave(state)
                return set()
            case ast.Break():
                self._loops[-1].broken |= state
                return set()
            case ast.Continue():
                self._loops[-1].continued |= state
                return set()
            case _:
                return self._calls(statement, state)

    def _loop(self, loop: ast.For | ast.AsyncFor | ast.While, state: set[Found]) -> set[Found]:
        test = loop.test if isinstance(loop, ast.While) else None
        frame = _Frame()
        self._loops.append(frame)
        state = state if isinstance(loop, ast.While) else self._calls(loop.iter, state)
        before: set[Found] = set()
        while before != state:
            before = state
            tested = state if test is None else self._calls(test, state)
            state = state | self.block(loop.body, tested) | frame.continued
        self._loops.pop()
        after = state if test is None else self._calls(test, state)
        if isinstance(test, ast.Constant) and test.value:
            after = set()
        return self.block(loop.orelse, after) | frame.broken

    def _try(self, tried: ast.Try | ast.TryStar, state: set[Found]) -> set[Found]:
        with self._inside() as outer, self._inside() as inner:
            state = self.block(tried.orelse, self.block(tried.body, state))
            self._tries.pop()
            for handler in tried.handlers:
                state = state | self.block(handler.body, set(inner.raised))
            self._tries.append(inner)
        left = outer.returned | inner.returned
        raised = outer.raised | (set() if tried.handlers else inner.raised)
        if tried.finalbody:
            left, raised = (self.block(tried.finalbody, some) for some in (left, raised))
            state = self.block(tried.finalbody, state)
        self.leave(left)
        if self._tries:
            self._tries[-1].raised |= raised
        return state

    def _with(self, items: list[ast.withitem], body: list[ast.stmt], state: set[Found]) -> set[Found]:
        for item in items:
            state = self._calls(item, state)
        if not any("suppress(" in ast.unparse(item) for item in items):
            state = self.block(body, state)
            for item in items:  # the end of a transaction is another effect
                call = item.context_expr
                if state and isinstance(call, ast.Call) and name_of(call).endswith((".begin", ".write")):
                    state = self._effect(call, state, is_end=True)
            return state
        with self._inside() as inner:
            state = self.block(body, state)
        self.leave(inner.returned)
        return state | inner.raised

    @contextmanager
    def _inside(self) -> Iterator[_Frame]:
        self._tries.append(_Frame())
        yield self._tries[-1]
        self._tries.pop()

    def _calls(self, node: ast.AST, state: set[Found]) -> set[Found]:
        """Of one expression or simple statement, in the order in which they end; each may raise instead."""
        repeated = {
            id(call)
            for one in ast.walk(node)
            if isinstance(one, ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp)
            for call in ast.walk(one)
        }
        calls = sorted(own_calls(node), key=lambda call: (call.end_lineno or 0, call.end_col_offset or 0))
        for call in calls:
            name = name_of(call)
            if name == POINT:
                state = state if call is self._without else {_AT_A_POINT}
                continue
            is_last = name.rpartition(".")[2] in _without_return()
            if self._tries and name != "os.close" and not is_last:
                self._tries[-1].raised |= state
            state = self._effect(call, state, is_repeated=id(call) in repeated)
            if is_last:
                return set()
        return state

    def _effect(
        self, call: ast.Call, state: set[Found], *, is_repeated: bool = False, is_end: bool = False
    ) -> set[Found]:
        effect = call.lineno, ast.unparse(call)
        if not is_effect(call, self._module):
            return state
        before = state - {_AT_A_POINT, effect} if is_end else state - {_AT_A_POINT}
        if before or is_repeated:
            self.bare |= {effect, *(before - {_AT_THE_START})}
        return {effect}


@cache
def _without_return() -> set[str]:
    """The functions that end their process, or raise: who calls them does nothing afterwards."""
    ours = {
        function.name
        for module in all_modules()
        for function in functions(module.tree)
        if function.returns is not None and ast.unparse(function.returns) == "NoReturn"
    }
    return {"_exit", *ours} - {"main"}
