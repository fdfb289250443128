"""The mutants of a module: comparisons, constants and boolean operators, changed one at a time."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass

_COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
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
_OPERATORS: dict[type[ast.operator], type[ast.operator]] = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div}


@dataclass(frozen=True, slots=True)
class Mutant:
    """A module with one change; `name` tells it from the others and outlives a move of lines."""

    name: str
    line: int
    source: str


def mutants_of(source: str) -> list[Mutant]:
    """Return each mutant of a module, in the order of its lines.

    Two changes of one function that read alike are numbered.
    """
    tree = ast.parse(source)
    mutants: list[Mutant] = []
    names: dict[str, int] = {}
    for where, index, node in _nodes(tree):
        for changed in _changes(node):
            name = f"{where}: {ast.unparse(node)} -> {ast.unparse(changed)}"
            names[name] = names.get(name, 0) + 1
            label = name if names[name] == 1 else f"{name} ({names[name]})"
            mutants.append(Mutant(label, getattr(node, "lineno", 0), _with(tree, index, changed)))
    return mutants


def _nodes(tree: ast.Module) -> Iterator[tuple[str, int, ast.expr]]:
    """Yield each expression with the function or class around it, and its number in a walk of the tree."""
    around: dict[int, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            around |= {id(inner): node.name for inner in ast.walk(node)}
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    # How a class is made (frozen, with slots) is no rule of the program; the type checker looks after it.
    classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    left_alone = docstrings | {
        id(inner) for each in classes for made in each.decorator_list for inner in ast.walk(made)
    }
    for index, node in enumerate(ast.walk(tree)):
        if isinstance(node, ast.expr) and id(node) not in left_alone:
            yield around.get(id(node), "<module>"), index, node


def _changes(node: ast.expr) -> Iterator[ast.expr]:
    match node:
        case ast.Compare(left=left, ops=operators, comparators=others):
            for number, operator in enumerate(operators):
                changed = [*operators[:number], _COMPARISONS[type(operator)](), *operators[number + 1 :]]
                yield ast.Compare(left, changed, others)
        case ast.BoolOp(op=ast.And(), values=values):
            yield ast.BoolOp(ast.Or(), values)
        case ast.BoolOp(op=ast.Or(), values=values):
            yield ast.BoolOp(ast.And(), values)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield operand
        case ast.Constant(value=bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(value=int(value) | float(value)):
            yield ast.Constant(value + 1)
        case ast.BinOp(left=left, op=operator, right=right) if type(operator) in _OPERATORS:
            yield ast.BinOp(left, _OPERATORS[type(operator)](), right)


def _with(tree: ast.Module, index: int, changed: ast.expr) -> str:
    """Return the module's text with the node of this number replaced."""
    mutant = copy.deepcopy(tree)
    target = next(node for number, node in enumerate(ast.walk(mutant)) if number == index)

    class Replacing(ast.NodeTransformer):
        def visit(self, node: ast.AST) -> ast.AST:
            return ast.copy_location(copy.deepcopy(changed), node) if node is target else self.generic_visit(node)

    return ast.unparse(ast.fix_missing_locations(Replacing().visit(mutant)))
