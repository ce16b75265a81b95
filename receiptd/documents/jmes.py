"""JMESPath, within bounds and exactly.

Numbers keep the digits that were written, also through ``sum()``, ``avg()`` (28 digits) and ``to_number()``: the
library's own would add as floats. No result is much larger than the document that it is taken from.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import jmespath
from jmespath.functions import Functions, signature
from jmespath.visitor import Options, TreeInterpreter

from receiptd.documents.places import Getter
from receiptd.documents.values import exact_sum, written

_GROWTH_MAX = 64
_NUMBER = re.compile(r"[+-]?[0-9]{1,40}(?:\.[0-9]{1,40})?(?:[eE][+-]?[0-9]{1,3})?")


def compile_jmespath(expression: str) -> Getter:
    """Compile an expression into a getter, which raises ValueError where an evaluation fails.

    Raises:
        ValueError: it is no such expression, names an unknown function, or could multiply the document's size.
    """
    try:
        tree: Any = jmespath.compile(expression).parsed
        _refuse_growth(tree)
    except (ValueError, RecursionError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{expression!r} is neither a JSON Pointer (/name/name) nor JMESPath: {reason}") from error
    interpreter = TreeInterpreter(Options(custom_functions=_ExactFunctions()))

    def get(node: Any) -> Any:
        try:
            return interpreter.visit(tree, node)
        except (ArithmeticError, LookupError, RecursionError, TypeError, ValueError):
            raise ValueError("could not be looked up by its JMESPath") from None  # their text holds values

    return get


def _refuse_growth(tree: dict[str, Any]) -> None:
    """Refuse such as ``[@, @][] | [@, @][] | ...``; without lists in brackets no result outgrows the document."""
    growth, nodes = 1, [tree]
    while nodes:
        node = nodes.pop()
        if node["type"] in {"multi_select_list", "multi_select_dict"}:
            growth *= max(1, len(node["children"]))
        if node["type"] == "function_expression" and node["value"] not in _ExactFunctions.FUNCTION_TABLE:
            raise ValueError(f"there is no function {node['value']}()")
        nodes += [child for child in node["children"] if isinstance(child, dict)]
    if growth > _GROWTH_MAX:
        raise ValueError(f"its lists and objects in brackets could make a document {growth} times as large")


_Library: Any = Functions  # whose stub leaves out what may be overridden


class _ExactFunctions(_Library):  # type: ignore[misc]
    """JMESPath's functions, over the numbers of our decoder (Decimal among them) and with exact arithmetic."""

    def _get_allowed_pytypes(self, types: Sequence[str]) -> tuple[list[str], list[Any]]:
        allowed, subtypes = super()._get_allowed_pytypes(types)
        numbers = [["Decimal"] if "float" in names else [] for names in subtypes]
        more = ["Decimal"] if "float" in allowed else []
        return [*allowed, *more], [(*names, *also) for names, also in zip(subtypes, numbers, strict=True)]

    def _convert_to_jmespath_type(self, pyobject: str) -> Any:
        return "number" if pyobject == "Decimal" else super()._convert_to_jmespath_type(pyobject)

    @signature({"types": ["array-number"]})
    def _func_sum(self, arg: Sequence[Any]) -> Any:
        return exact_sum(Decimal(written(number)) for number in arg)

    @signature({"types": ["array-number"]})
    def _func_avg(self, arg: Sequence[Any]) -> Any:
        return exact_sum(Decimal(written(number)) for number in arg) / len(arg) if arg else None

    @signature({"types": []})
    def _func_to_number(self, arg: Any) -> Any:
        if type(arg) is str:
            return Decimal(arg) if _NUMBER.fullmatch(arg) else None
        return arg if type(arg) in {int, float, Decimal} else None

    @signature({"types": []})
    def _func_to_string(self, arg: Any) -> Any:
        return written(arg) if type(arg) in {int, float, Decimal} else super()._func_to_string(arg)

    @signature({"types": []})
    def _func_type(self, arg: Any) -> Any:
        return "number" if type(arg) is Decimal else super()._func_type(arg)
