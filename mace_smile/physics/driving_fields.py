"""Electric fields that depend on time, written as text and read without running code.

A field is three expressions in the time ``t``, one an axis::

    FieldExpression("0, 0, 0.05*sin(2*pi*t/100)")

with ``t`` in fs and the field in V/A. Each expression is read into a syntax tree, of which only
numbers, ``t``, ``pi``, arithmetic, comparisons, ``a if condition else b`` and the functions in
:data:`FUNCTIONS` are allowed.
"""

import ast
import math
import operator
from collections.abc import Callable

import numpy as np

from mace_smile.errors import UserError

#: What an expression may call; angles in radians.
FUNCTIONS: dict[str, Callable[..., float]] = {
    "sin": math.sin,
    "cos": math.cos,
    "tan": math.tan,
    "exp": math.exp,
    "log": math.log,
    "sqrt": math.sqrt,
    "tanh": math.tanh,
    "erf": math.erf,
    "abs": abs,
    "floor": math.floor,
    "min": min,
    "max": max,
}
#: Names that stand for a number, beside ``t``.
CONSTANTS = {"pi": math.pi}

_BINARY: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Mod: operator.mod,
    ast.Pow: math.pow,
}
_UNARY: dict[type[ast.unaryop], Callable[[float], float]] = {
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
}
_COMPARISONS: dict[type[ast.cmpop], Callable[[float, float], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
#: Longer expressions are refused: a deep tree would exhaust the stack.
_LONGEST = 1000


class FieldExpression:
    """A homogeneous field E(t), called with the time.

    :param text: three expressions in ``t`` (fs), separated by commas, each in V/A.
    :raises UserError: for another number of expressions, a syntax error, or a name, function or
        construct that is not allowed.
    """

    def __init__(self, text: str) -> None:
        self.text = text.strip()
        self.components = _parse(self.text)

    def __call__(self, time: float) -> np.ndarray:
        """The field at a time.

        :param time: in fs.
        :return: shape ``(3,)``, in V/A.
        :raises UserError: where an expression has no finite value.
        """
        values = np.empty(3)
        for axis, component in enumerate(self.components):
            try:
                values[axis] = _value(component, float(time))
            except (ArithmeticError, ValueError, TypeError) as error:
                raise self._no_value(axis, time, str(error)) from error
            if not math.isfinite(values[axis]):
                raise self._no_value(axis, time, f"it gives {values[axis]}")
        return values

    def _no_value(self, axis: int, time: float, reason: str) -> UserError:
        return UserError(
            f"the {'xyz'[axis]} component of the field '{self.text}' has no finite value at "
            f"t = {time:g} fs ({reason})"
        )


def _parse(text: str) -> list[ast.expr]:
    """The three syntax trees of a field, checked."""
    if len(text) > _LONGEST:
        raise UserError(
            f"the field has {len(text)} characters but may have {_LONGEST} at most; write it "
            "shorter"
        )
    try:
        tree = ast.parse(f"({text},)", mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else str(error)
        raise UserError(
            f"the field '{text}' is no expression ({reason}); write three, separated by commas, "
            "e.g. '0, 0, 0.05*sin(2*pi*t/100)' with t in fs"
        ) from error
    components = tree.elts if isinstance(tree, ast.Tuple) else [tree]
    if len(components) != 3:
        raise UserError(
            f"the field '{text}' has {len(components)} component(s) but must have three, in V/A "
            "along x, y and z, separated by commas"
        )
    for component in components:
        _check(component, text)
    return components


def _check(node: ast.expr, text: str) -> None:
    """Refuse what is not arithmetic of allowed names."""
    if isinstance(node, ast.Constant):
        if isinstance(node.value, (int, float)) and not isinstance(node.value, bool):
            return
    elif isinstance(node, ast.Name):
        if node.id == "t" or node.id in CONSTANTS:
            return
        raise UserError(
            f"the field '{text}' names '{node.id}', which is not known; there are t (fs) and "
            f"{', '.join(CONSTANTS)}, and the functions {', '.join(FUNCTIONS)}"
        )
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        if node.func.id not in FUNCTIONS:
            raise UserError(
                f"the field '{text}' calls '{node.func.id}', which is not known; there are "
                f"{', '.join(FUNCTIONS)}"
            )
        if not node.keywords and not any(isinstance(part, ast.Starred) for part in node.args):
            for argument in node.args:
                _check(argument, text)
            return
    elif isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
        _check(node.left, text)
        _check(node.right, text)
        return
    elif isinstance(node, ast.UnaryOp) and type(node.op) in _UNARY:
        _check(node.operand, text)
        return
    elif isinstance(node, ast.Compare) and all(type(kind) in _COMPARISONS for kind in node.ops):
        for part in [node.left, *node.comparators]:
            _check(part, text)
        return
    elif isinstance(node, ast.IfExp):
        for part in (node.test, node.body, node.orelse):
            _check(part, text)
        return
    raise UserError(
        f"the field '{text}' contains '{ast.unparse(node)}', which is not allowed; use numbers, "
        "t (fs), pi, arithmetic, comparisons, `a if condition else b` and the functions "
        f"{', '.join(FUNCTIONS)}"
    )


def _value(node: ast.expr, time: float) -> float:
    """Number of a checked expression; comparisons give 0 or 1."""
    if isinstance(node, ast.Constant):
        assert isinstance(node.value, (int, float))
        return float(node.value)
    if isinstance(node, ast.Name):
        return time if node.id == "t" else CONSTANTS[node.id]
    if isinstance(node, ast.Call):
        assert isinstance(node.func, ast.Name)
        return float(FUNCTIONS[node.func.id](*(_value(part, time) for part in node.args)))
    if isinstance(node, ast.BinOp):
        return _BINARY[type(node.op)](_value(node.left, time), _value(node.right, time))
    if isinstance(node, ast.UnaryOp):
        return _UNARY[type(node.op)](_value(node.operand, time))
    if isinstance(node, ast.Compare):
        parts = [_value(part, time) for part in [node.left, *node.comparators]]
        pairs = zip(node.ops, parts[:-1], parts[1:], strict=True)
        return float(all(_COMPARISONS[type(kind)](left, right) for kind, left, right in pairs))
    assert isinstance(node, ast.IfExp)
    return _value(node.body if _value(node.test, time) else node.orelse, time)
