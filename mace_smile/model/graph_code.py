"""Source code inside a stored model: what of it may run when the file is loaded.

MACE's symmetric contractions are graph modules of ``torch.fx``. Their pickle holds the source of a
function, which torch executes to rebuild the graph. That of MACE assigns contractions of its
arguments to local names and returns one. This grammar, and nothing beside it, is allowed here: no
attribute of the module is read and none is written, so that no other content of the file counts.
"""

import ast
from collections import OrderedDict
from typing import Any

import torch
from torch.fx.graph_module import reduce_graph_module

#: Functions that the code of a graph may call.
FUNCTIONS = frozenset(
    f"torch.{module}{name}"
    for module in ("", "functional.")
    for name in ("einsum", "tensordot", "reshape", "permute", "transpose")
)
#: Methods of tensors that it may call.
METHODS = frozenset({"reshape", "view", "permute", "transpose", "unsqueeze", "squeeze", "expand"})
#: Names that always mean the same.
RESERVED = frozenset({"torch", "self"})
#: What stands in front of the code; that of the file is not used.
IMPORTS = "import torch\n"
#: Values that may be written down.
Literal = int | float | str | None


class ForeignContent(Exception):
    """A file holds what no model of MACE or of this package holds."""


def graph_module(body: Any, import_block: Any) -> torch.nn.Module:
    """A graph of ``torch.fx``, whose code is that of a contraction.

    :param body: attributes of the graph, of which the code and the mode are used.
    :param import_block: imports in front of the code, in place of which stands ``import torch``.
    :raises ForeignContent: for code that no MACE has, and graphs with parameters or modules.
    """
    if type(body) is not dict or type(import_block) is not str:
        raise ForeignContent("holds a graph in a form that torch does not write")
    source = body.get("_code", body.get("code"))
    if type(source) is not str:
        raise ForeignContent("holds a graph without source code")
    check_graph_code(source)
    for name in ("_parameters", "_buffers", "_modules"):
        content = body.get(name, {})
        if type(content) not in (dict, OrderedDict) or content:
            raise ForeignContent("holds a graph with tensors or modules of its own")
    fresh = {**vars(torch.nn.Module()), "_code": source, "training": body.get("training") is True}
    return reduce_graph_module(fresh, IMPORTS)


def check_graph_code(source: str) -> None:
    """Refuse the code of a graph that does more than multiply tensors.

    :param source: one function ``forward``.
    :raises ForeignContent: with the first line that does.
    """
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ForeignContent(f"holds source code that cannot be read ({error})") from error
    for number, statement in enumerate(tree.body):
        if number > 0 or not isinstance(statement, ast.FunctionDef):
            raise _foreign(statement)
        _check_function(statement)
    if not tree.body:
        raise ForeignContent("holds a graph without source code")


def _foreign(node: ast.AST) -> ForeignContent:
    """What is said of code that is not in the grammar."""
    text = " ".join(ast.unparse(node).split())
    return ForeignContent(f"holds source code that no MACE has: `{text[:60]}`")


def _check_function(function: ast.FunctionDef) -> None:
    """Check ``def forward(self, x, ...)``.

    :raises ForeignContent: for decorators, defaults, annotations, and other statements than
        assignments and ``return``.
    """
    given = function.args
    names = [one.arg for one in given.args]
    extras = (
        *(given.posonlyargs, given.vararg, given.kwonlyargs, given.kwarg, given.defaults),
        *(function.decorator_list, function.returns, getattr(function, "type_params", None)),
        *(one.annotation for one in given.args),
    )
    is_plain = function.name == "forward" and names[:1] == ["self"] and not any(extras)
    if not is_plain or not all(_is_local(name) for name in names[1:]):
        raise _foreign(function)
    known = set(names[1:])
    for statement in function.body:
        _check_statement(statement, known)


def _is_local(name: str) -> bool:
    """Whether an argument or a result may have this name."""
    return name not in RESERVED and not name.startswith("__")


def _check_statement(statement: ast.stmt, known: set[str]) -> None:
    """Check ``a = b = value`` and ``return value``.

    :param known: names that have a value, to which those of the statement are added.
    """
    if isinstance(statement, ast.Assign):
        for target in statement.targets:
            if not isinstance(target, ast.Name) or not _is_local(target.id):
                raise _foreign(statement)
    elif not isinstance(statement, ast.Return) or statement.value is None:
        raise _foreign(statement)
    assert statement.value is not None
    if not _is_value(statement.value, known):
        raise _foreign(statement)
    if isinstance(statement, ast.Assign):
        known.update(target.id for target in statement.targets if isinstance(target, ast.Name))


def _is_value(node: ast.expr, known: set[str]) -> bool:
    """Whether an expression consists of known names, plain values and calls of listed functions."""
    if isinstance(node, ast.Name):
        return node.id in known
    if isinstance(node, ast.Constant):
        return isinstance(node.value, Literal)
    if isinstance(node, ast.Tuple | ast.List):
        return all(_is_value(one, known) for one in node.elts)
    if isinstance(node, ast.UnaryOp):
        number = node.operand
        return (
            isinstance(node.op, ast.USub)
            and isinstance(number, ast.Constant)
            and isinstance(number.value, int | float)
        )
    return isinstance(node, ast.Call) and _is_known_call(node, known)


def _is_known_call(node: ast.Call, known: set[str]) -> bool:
    """Whether a function in the lists is called, with values for arguments."""
    function = node.func
    if not isinstance(function, ast.Attribute):
        return False
    if isinstance(function.value, ast.Name) and function.value.id in known:
        is_listed = function.attr in METHODS
    else:
        is_listed = ast.unparse(function) in FUNCTIONS
    return (
        is_listed
        and all(_is_value(one, known) for one in node.args)
        and all(one.arg is not None and _is_value(one.value, known) for one in node.keywords)
    )
