"""Source code of TorchScript inside a stored model: what of it may be there.

The code that e3nn generates cuts tensors, multiplies and joins them. That of a stranger may do the
same, in classes whose methods run when they are called, and nothing else.
"""

import ast
import re

from mace_smile.model.graph_code import ForeignContent

#: Functions on tensors and lists that may be called as ``torch.NAME``.
_FUNCTIONS = """
__and__ __contains__ __getitem__ __is__ __isnot__ __not__ __or__ abs add addmm all any append arange
bmm broadcast_tensors broadcast_to cat chunk clone contiguous copy_ cos cross detach device dim div
dot dtype einsum empty empty_like eq exp expand expand_as eye fill_ flatten floordiv full full_like
ge gt index index_add index_select is_floating_point le len linalg_cross linalg_norm log lt
masked_fill matmul mean mm mul mv narrow ndimension ne neg new_empty new_full new_ones new_zeros
norm numel ones ones_like outer permute pow prod reciprocal relu remainder reshape reshape_as rsqrt
scatter_add select sigmoid silu sin size slice split sqrt square squeeze stack sub sum t tanh tensor
tensordot to transpose true_divide type_as unbind unsqueeze view view_as where zero_ zeros
zeros_like
"""
FUNCTIONS = frozenset(f"torch.{name}" for name in _FUNCTIONS.split()) | {
    *(f"ops.prim.{name}" for name in ("RaiseException", "device", "dtype", "layout"))
}
#: Names that TorchScript knows without a module.
PLAIN_CALLS = frozenset({"annotate", "uninitialized", "unchecked_cast", "int", "float", "bool"})
#: Methods of the classes in the archive.
METHODS = frozenset({"forward", "__code_getter"})
#: Characters of the code: those of which Python's parser and that of TorchScript think alike.
CHARACTERS = re.compile(r"""[\n !"$-\[\]-~]*""")
#: Classes that are made in C++, out of data of the archive.
CUSTOM_CLASSES = "__torch__.torch.classes"
#: Names that always mean the same.
RESERVED = frozenset({"torch", "ops", "self", "CONSTANTS", "__torch__"})


def check_script_code(source: bytes) -> list[str]:
    """Refuse code of TorchScript that does more than compute with tensors.

    :param source: classes and functions, as TorchScript stores them.
    :return: names of the classes.
    :raises ForeignContent: with the first line that does.
    """
    text = source.decode("latin1")
    if CHARACTERS.fullmatch(text) is None or '"""' in text or "'''" in text:
        raise ForeignContent("holds TorchScript code with characters that TorchScript never writes")
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ForeignContent(f"holds TorchScript code that cannot be read ({error})") from error
    for statement in tree.body:
        if isinstance(statement, ast.ClassDef):
            _check_class(statement)
        elif isinstance(statement, ast.FunctionDef) and _is_free(statement.name):
            _check_function(statement, [one.arg for one in statement.args.args])
        else:
            raise _foreign(statement)
    return [one.name for one in tree.body if isinstance(one, ast.ClassDef)]


def _foreign(node: ast.AST) -> ForeignContent:
    """What is said of code that is not in the grammar."""
    text = " ".join(ast.unparse(node).split())
    return ForeignContent(f"holds TorchScript code that no MACE has: `{text[:60]}`")


def _is_free(name: str) -> bool:
    """Whether a function, an argument or a result may have this name."""
    return name not in RESERVED | PLAIN_CALLS and not name.startswith("__")


def _check_class(node: ast.ClassDef) -> None:
    """Check a class of types of attributes, and of methods that run when they are called only.

    :raises ForeignContent: for anything else, such as ``__setstate__``.
    """
    if [ast.unparse(base) for base in node.bases] != ["Module"] or node.keywords:
        raise _foreign(node)
    for statement in node.body:
        if isinstance(statement, ast.FunctionDef) and statement.name in METHODS:
            first, *others = [one.arg for one in statement.args.args] or [""]
            kind = statement.args.args[0].annotation if first else None
            if first != "self" or kind is None or not ast.unparse(kind).startswith("__torch__."):
                raise _foreign(statement)
            _check_function(statement, others)
        elif isinstance(statement, ast.AnnAssign) and statement.value is None:
            _check_type(statement.annotation)
        elif not isinstance(statement, ast.Assign) or not _lists_tensors(statement):
            raise _foreign(statement)


def _lists_tensors(node: ast.Assign) -> bool:
    """Whether a line of a class names its parameters or buffers."""
    names = [ast.unparse(target) for target in node.targets]
    return names in (["__parameters__"], ["__buffers__"]) and isinstance(node.value, ast.List)


def _check_function(function: ast.FunctionDef, names: list[str]) -> None:
    """Check a function with plain arguments.

    :param names: of its arguments, beside ``self`` of a method.
    :raises ForeignContent: for other arguments or statements.
    """
    given = function.args
    extras = (given.posonlyargs, given.vararg, given.kwonlyargs, given.kwarg)
    if any(extras) or function.decorator_list or not all(_is_free(name) for name in names):
        raise _foreign(function)
    for kind in (function.returns, *(one.annotation for one in given.args)):
        if kind is not None:
            _check_type(kind)
    for default in given.defaults:
        _check_value(default)
    for statement in function.body:
        _check_statement(statement)


def _check_type(node: ast.expr) -> None:
    """Check the name of a type.

    :raises ForeignContent: for classes that are made in C++.
    """
    for part in ast.walk(node):
        is_type = isinstance(
            part, ast.Name | ast.Attribute | ast.Subscript | ast.Tuple | ast.List | ast.expr_context
        )
        if not is_type or ast.unparse(part).startswith(CUSTOM_CLASSES):
            raise _foreign(node)


def _check_statement(node: ast.stmt) -> None:
    """Check an assignment to names, a condition, a call or ``return``.

    :raises ForeignContent: for anything else.
    """
    if isinstance(node, ast.Assign):
        for target in node.targets:
            for name in target.elts if isinstance(target, ast.Tuple) else [target]:
                if not isinstance(name, ast.Name) or not _is_free(name.id):
                    raise _foreign(node)
        _check_value(node.value)
    elif isinstance(node, ast.If):
        _check_value(node.test)
        for statement in (*node.body, *node.orelse):
            _check_statement(statement)
    elif isinstance(node, ast.Return | ast.Expr):
        if node.value is not None:
            _check_value(node.value)
    elif not isinstance(node, ast.Pass):
        raise _foreign(node)


def _check_value(node: ast.expr) -> None:
    """Check an expression.

    :raises ForeignContent: for calls of what is not listed, and attributes of other things than
        the module itself.
    """
    inner: list[ast.expr] = []
    if isinstance(node, ast.Call):
        is_known = _is_known_call(node) and all(one.arg is not None for one in node.keywords)
        inner = [*node.args, *(one.value for one in node.keywords)]
    elif isinstance(node, ast.Attribute):
        is_known = _is_known_attribute(node)
    elif isinstance(node, ast.Name):
        is_known = node.id not in ("torch", "ops", "__torch__")
    elif isinstance(node, ast.Tuple | ast.List):
        is_known, inner = True, node.elts
    elif isinstance(node, ast.Subscript):
        is_known, inner = True, [node.value, node.slice]
    elif isinstance(node, ast.UnaryOp):
        is_known, inner = True, [node.operand]
    else:
        is_known = isinstance(node, ast.Constant) and isinstance(
            node.value, int | float | str | None
        )
    if not is_known:
        raise _foreign(node)
    for one in inner:
        _check_value(one)


def _is_known_attribute(node: ast.Attribute) -> bool:
    """Whether this is an attribute of the module, a constant, or a function of the archive."""
    if isinstance(node.value, ast.Name) and node.value.id in ("self", "CONSTANTS"):
        return True
    name = ast.unparse(node)
    is_dotted = all(part.isidentifier() for part in name.split("."))
    return is_dotted and name.startswith("__torch__.") and not name.startswith(CUSTOM_CLASSES)


def _is_known_call(node: ast.Call) -> bool:
    """Whether a listed function or one of the archive is called."""
    function = node.func
    if isinstance(function, ast.Name):
        return function.id in PLAIN_CALLS or re.fullmatch(r"_\d+", function.id) is not None
    if not isinstance(function, ast.Attribute):
        return False
    if ast.unparse(function) in FUNCTIONS:
        return True
    owner = function.value
    if function.attr != "forward":
        return _is_known_attribute(function)
    if isinstance(owner, ast.Name):
        return _is_free(owner.id)
    return isinstance(owner, ast.Attribute) and _is_known_attribute(owner)
