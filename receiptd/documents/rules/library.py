"""The CEL library, without its command line.

``import cel`` brings a terminal toolkit with it, a quarter of a second of start for nothing that is used here; the
extension module in the package does all the work and stands alone.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from functools import cache, partial
from importlib.machinery import PathFinder
from importlib.util import find_spec, module_from_spec
from threading import Lock
from types import ModuleType
from typing import Any

from receiptd.documents.errors import bounded
from receiptd.domain.money import to_major

FAILURES = (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError)
"""What an evaluation raises for an overflow, a missing key, an unknown name, a wrong type, a bad argument."""

_NATIVE = "cel.cel"
_LOADING = Lock()
_INT64_MAX = 2**63 - 1


@cache
def load_cel() -> ModuleType:
    """Return the module with ``compile`` and ``Context``; from any thread. Raises ImportError."""
    # It logs what a function raised, values included; a finding says enough, and documents are not for logs.
    logging.getLogger("cel").setLevel(logging.CRITICAL)
    with _LOADING:
        if _NATIVE in sys.modules:
            return sys.modules[_NATIVE]
        package = find_spec("cel")
        spec = PathFinder.find_spec(_NATIVE, package.submodule_search_locations) if package else None
        if spec is None or spec.loader is None:
            raise ImportError("common-expression-language is not installed, or has no extension module cel.cel")
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
        sys.modules[_NATIVE] = module  # for whoever imports the package after all: it cannot be loaded twice
        return module


def compile_cel(text: str) -> Any:
    """Compile CEL. Raises ValueError."""
    try:
        return load_cel().compile(text)
    except ValueError as error:
        raise ValueError(f"no CEL expression: {bounded(str(error))}") from error


def exact_sum(numbers: Sequence[Any]) -> Any:
    """Return the exact sum. Raises OverflowError past int64, where CEL would go on with a double."""
    total = sum(numbers)
    if type(total) is int and not -_INT64_MAX <= total <= _INT64_MAX:
        raise OverflowError("the sum does not fit 64 bits")
    return total


def functions(currency: str) -> dict[str, Callable[..., Any]]:
    """Return what expressions may call beside CEL's own functions: ``sum(list)``, and ``money(amount)``."""
    return {"sum": exact_sum, "money": partial(to_major, currency=currency)}
