"""Source code inside a stored model: what of it may run when the file is loaded.

MACE's symmetric contractions are graph modules of ``torch.fx``. Their pickle holds the source of a
function, which torch executes to rebuild the graph. That of MACE assigns products of tensors to
local names and returns one, and nothing else is allowed here.
"""

import ast

#: Functions that the code of a graph may call.
FUNCTIONS = frozenset(
    f"torch.{module}{name}"
    for module in ("", "functional.")
    for name in ("einsum", "tensordot", "reshape", "permute")
)
#: Methods of tensors that it may call.
METHODS = frozenset({"reshape", "view", "permute", "transpose", "unsqueeze", "squeeze", "expand"})
#: Modules that it may import, and names under which it may import them.
MODULES = frozenset({"torch", "math", "torch.fx._pytree", "torch.utils._pytree"})
NAMES = frozenset({"inf", "nan", "device"})
ALIASES = frozenset({None, "fx_pytree", "pytree"})
#: Everything else that may be in it.
NODES = (
    ast.Module,
    ast.FunctionDef,
    ast.arguments,
    ast.arg,
    ast.Return,
    ast.Assign,
    ast.Expr,
    ast.Name,
    ast.Attribute,
    ast.Constant,
    ast.Tuple,
    ast.List,
    ast.Subscript,
    ast.Slice,
    ast.keyword,
    ast.UnaryOp,
    ast.BinOp,
    ast.operator,
    ast.unaryop,
    ast.expr_context,
)


class ForeignContent(Exception):
    """A file holds what no model of MACE or of this package holds."""


def check_graph_code(source: str) -> None:
    """Refuse the code of a graph that does more than multiply tensors.

    :param source: imports and one function ``forward``.
    :raises ForeignContent: with the first line that does.
    """
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError) as error:
        raise ForeignContent(f"holds source code that cannot be read ({error})") from error
    for node in ast.walk(tree):
        if not _is_harmless(node):
            text = ast.unparse(node) if isinstance(node, ast.stmt | ast.expr) else type(node)
            raise ForeignContent(f"holds source code that no MACE has: `{str(text)[:60]}`")


def _is_harmless(node: ast.AST) -> bool:
    """Whether a part of the code is one of those MACE's graphs have."""
    if isinstance(node, ast.alias):
        return node.asname in ALIASES
    if isinstance(node, ast.Import):
        return all(alias.name in MODULES for alias in node.names)
    if isinstance(node, ast.ImportFrom):
        return node.module in MODULES and all(alias.name in NAMES for alias in node.names)
    if isinstance(node, ast.Call):
        return _is_harmless_call(node)
    if isinstance(node, ast.FunctionDef) and (node.decorator_list or node.name != "forward"):
        return False
    if isinstance(node, ast.Attribute):
        return isinstance(node.ctx, ast.Load) and not node.attr.startswith("_")
    if isinstance(node, ast.Name):
        return not (isinstance(node.ctx, ast.Store) and node.id in ("torch", "type"))
    return isinstance(node, NODES)


def _is_harmless_call(node: ast.Call) -> bool:
    """Whether a function is called that is in the lists, or the type of None is asked for."""
    name = ast.unparse(node.func)
    if name in FUNCTIONS or ast.unparse(node) == "type(None)":
        return True
    return (
        isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id != "torch"
        and node.func.attr in METHODS
    )
