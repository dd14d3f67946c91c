"""Write lmkit/api.pyi, in which `train` has every option as a keyword, for editors: python docs/make_stub.py.

--print: to stdout. Editors and type checkers read the stub in place of lmkit/api.py; Python itself never does.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

from lmkit.corpus.options import DataOptions
from lmkit.option_fields import OptionField, fields_of
from lmkit.plugins import registry
from lmkit.training.options import TrainOptions

SOURCE = Path(__file__).parent.parent / "lmkit" / "api.py"
STUB = SOURCE.with_suffix(".pyi")
HEAD = '''# ruff: noqa
# fmt: off
"""Made by `python docs/make_stub.py`: do not edit. lmkit/api.py for editors, with the options of built-in parts.

Options of other plugins are taken too. Where one has another type than a built-in option of its name, give it in a
table: `model={"name": ..., ...}`.
"""
'''


def render() -> str:
    """The whole stub."""
    tree = ast.parse(SOURCE.read_text(encoding="utf-8"))
    functions = [
        node for node in tree.body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
    ]
    stubs = "\n".join(map(_function, functions))
    return "\n".join([HEAD, *_imports(tree, stubs), "", _exports(tree), "", stubs])


def _exports(tree: ast.Module) -> str:
    return next(ast.unparse(node) for node in tree.body if isinstance(node, ast.Assign))


def _imports(tree: ast.Module, stubs: str) -> Iterator[str]:
    """The imports of the names that the stub uses or exports."""
    text = stubs + _exports(tree)
    used = {node.id for node in ast.walk(ast.parse(stubs)) if isinstance(node, ast.Name)}
    yield "from typing import Any, Literal"
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module not in ("typing", "__future__"):
            names = [item.name for item in node.names if item.name in used or f"'{item.name}'" in text]
            if names:
                yield f"from {node.module} import {', '.join(names)}"


def _function(node: ast.FunctionDef) -> str:
    """A function without its body, with an argument a line."""
    arguments = node.args
    positional = len(arguments.args) - len(arguments.defaults)
    lines = [
        _argument(item, None if index < positional else arguments.defaults[index - positional])
        for index, item in enumerate(arguments.args)
    ]
    if arguments.kwonlyargs:
        lines.append("*")
        lines += map(_argument, arguments.kwonlyargs, arguments.kw_defaults)
    if node.name == "train":
        own = {item.arg: item for item in (*arguments.args, *arguments.kwonlyargs)}
        lines += _options(own)
    if arguments.kwarg:
        lines.append(f"**{_argument(arguments.kwarg, None)}")
    body = "".join(f"    {line}\n" if line.startswith("#") else f"    {line},\n" for line in lines)
    assert node.returns
    return f"def {node.name}(\n{body}) -> {ast.unparse(node.returns)}: ...\n"


def _argument(argument: ast.arg, default: ast.expr | None) -> str:
    assert argument.annotation
    text = f"{argument.arg}: {ast.unparse(argument.annotation)}"
    return text if default is None else f"{text} = {ast.unparse(default)}"


def _options(own: dict[str, ast.arg]) -> Iterator[str]:
    """A keyword for each option, below its owners and its help."""
    annotation = own["model"].annotation
    assert annotation
    part_types = [text for text in _members(annotation) if text != "None"]
    for name, found in _by_name().items():
        if name not in own:
            owners_by_help: dict[str, list[str]] = {}
            for owner, item in found:
                owners_by_help.setdefault(item.help, []).append(owner)
            for text, owners in owners_by_help.items():
                yield f"# {', '.join(owners)}: {text}"
            yield f"{name}: {_types([item for _, item in found], part_types)} = ..."


def _by_name() -> dict[str, list[tuple[str, OptionField]]]:
    """The options by name, each with its owners: training, data, and the built-in parts that a model is made of."""
    owners = [("training", TrainOptions), ("data", DataOptions)]
    for kind in ("model", "cell", "tokenizer"):
        owners += [(part.spec.name, part.spec.options) for part in registry().parts(kind)]
    found: dict[str, list[tuple[str, OptionField]]] = {}
    for owner, options in owners:
        for item in fields_of(options):
            found.setdefault(item.name, []).append((owner, item))
    return found


def _types(items: list[OptionField], part_types: list[str]) -> str:
    """The union of the types of an option's values in all parts that have it."""
    choices = dict.fromkeys(choice for item in items for choice in item.choices)
    types: dict[str, None] = {}
    for item in items:
        if item.kind:
            single = part_types
        elif item.choices:
            single = [f"Literal[{', '.join(map(repr, choices))}]"]
        else:
            single = [item.type.__name__]
        types |= dict.fromkeys(single)
        types |= {f"Sequence[{' | '.join(single)}]": None} if item.many else {}
    none = ["None"] if any(item.optional for item in items) else []
    return " | ".join([*types, *none])


def _members(annotation: ast.expr) -> list[str]:
    """The members of a union."""
    if isinstance(annotation, ast.BinOp):
        return [*_members(annotation.left), *_members(annotation.right)]
    return [ast.unparse(annotation)]


def main() -> None:
    """Write the stub, or print it."""
    from lmkit.plugins import use_third_party

    use_third_party(False)
    stub = render()
    if "--print" in sys.argv[1:]:
        sys.stdout.write(stub)
    else:
        STUB.write_text(stub, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
