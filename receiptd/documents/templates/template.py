"""Templates: what a registrar is sent when neither the received bytes nor the canonical receipt will do.

A template is a Jinja file of a receipt type's folder, ``*.json.j2``, ``*.xml.j2`` or ``*.txt.j2``. It sees the facts
of one receipt and nothing else: the same receipt gives the same bytes whenever it is sent (invariant 5), so there is
no clock and no chance in it. In JSON every ``{{ … }}`` is written as JSON, in XML it is escaped, so no text of a
receipt ever becomes structure. The sandbox keeps an operator's mistake small; templates are not taken from strangers.

This module brings Jinja with it: import it where the first template is met.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import orjson
from jinja2 import BaseLoader, Environment, StrictUndefined, TemplateNotFound, UndefinedError, nodes
from jinja2.exceptions import TemplateSyntaxError
from jinja2.meta import find_undeclared_variables
from jinja2.sandbox import ImmutableSandboxedEnvironment

from receiptd.documents.errors import RenderingError
from receiptd.documents.mapping import CANONICAL
from receiptd.documents.templates.values import KINDS, Kind, UnfitError
from receiptd.domain.errors import ConfigurationError
from receiptd.domain.receipt import Submission
from receiptd.domain.timestamps import timestamp

RENDERED_MAX_BYTES: Final = 1_048_576
"""The largest result of a template."""

_NAMES: Final = ("accepted_at", "client", "id", "receipt", "type")
"""What ``facts_of`` gives."""
_FIELDS: Final = frozenset({*CANONICAL[""], *filter(None, CANONICAL)})


def facts_of(submission: Submission) -> dict[str, Any]:
    """Return what a template sees of a receipt that could be mapped.

    ``receipt`` (the canonical receipt, money in minor units), ``id`` (the receipt's id), ``type`` (``ID@VERSION``),
    ``client`` (the client's id) and ``accepted_at`` (ISO 8601, UTC).
    """
    return {
        "receipt": orjson.loads(submission.canonical),
        "id": submission.receipt_id,
        "type": f"{submission.type_id}@{submission.type_version}",
        "client": submission.client_id,
        "accepted_at": timestamp(submission.accepted_at),
    }


class Template:
    """One compiled template, with all that it includes; what changes on disk later does not reach it."""

    def __init__(self, path: Path) -> None:
        """Compile the file at ``path``, whose name ends in ``.json.j2``, ``.xml.j2`` or ``.txt.j2``.

        Raises:
            ConfigurationError: it, or a file that it includes, cannot be used; the text names the file and the line.
        """
        kind = KINDS.get("".join(path.suffixes[-2:]))
        if kind is None:
            raise ConfigurationError(f"{path}: a template's name ends in {', '.join(KINDS)}")
        self.name = path.name
        self.media_type = kind.media_type
        self._judge = kind.judge
        self._files = _Files(path.parent)
        environment = _environment(kind, self._files)
        try:
            _read(environment, self._files, path.name, set())
            self._template = environment.get_template(path.name)
        except TemplateNotFound as error:
            raise ConfigurationError(f"{path}: there is no such file; put it there") from error
        except TemplateSyntaxError as error:
            raise ConfigurationError(f"{error.filename or path}:{error.lineno}: {error.message}") from error

    def render(self, facts: Mapping[str, Any]) -> bytes:
        """Return what the template makes of ``facts`` (see ``facts_of``): UTF-8, JSON or XML as its name promises.

        Raises:
            RenderingError: it used what is not there, went wrong in another way, made more than 1 MiB, or made no
                JSON or XML. The text names the template and its line, and holds no value of the receipt.
        """
        try:
            rendered = _joined(self._template.generate(facts))
            self._judge(rendered)
        except Exception as error:  # noqa: BLE001 - a template can raise anything, and all of it is translated
            # Without its cause: that may quote the receipt, and errors' texts are logged and shown.
            raise RenderingError(f"template {self._place(error)}: {_reason(error)}") from None
        return rendered

    def _place(self, error: Exception) -> str:
        """Return the innermost template and line that ``error`` came through."""
        place = self.name
        for frame, line in traceback.walk_tb(error.__traceback__):
            name = self._files.names.get(frame.f_code.co_filename)
            if name is not None:
                place = f"{name}, line {line}"
        return place


def _joined(parts: Iterable[str]) -> bytes:
    """Join what a template makes, and stop one that goes on and on; characters first, which are no more than bytes."""
    left, kept = RENDERED_MAX_BYTES, []
    for part in parts:
        left -= len(part)
        kept.append(part)
        if left < 0:
            break
    rendered = "".join(kept).encode()
    if len(rendered) > RENDERED_MAX_BYTES:
        raise UnfitError(f"it makes more than {RENDERED_MAX_BYTES} bytes")
    return rendered


def _reason(error: Exception) -> str:
    if isinstance(error, UnfitError):
        return str(error)
    if isinstance(error, UndefinedError):
        return "it uses a name or a field that is not there"
    return f"it failed ({type(error).__name__})"


# -- the sandbox ---------------------------------------------------------------------------------------------------


class _Sandbox(ImmutableSandboxedEnvironment):
    """Jinja's sandbox, quicker at the fields of a receipt: they need no judgement, and no attempt at an attribute."""

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Return the member ``attribute`` of an object, or what the sandbox says."""
        if type(obj) is dict and attribute in obj:
            return obj[attribute]
        return super().getattr(obj, attribute)


class _Files(BaseLoader):
    """The folder of a template, as the only place that it can include from."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names: dict[str, str] = {}
        """The names of the files that were read, by their paths."""

    def get_source(self, environment: Environment, template: str) -> tuple[str, str, None]:
        """Return text and path of the file ``template``. Raises TemplateNotFound and ConfigurationError."""
        del environment
        path, root = self.folder / template, self.folder.resolve()
        if not path.resolve().is_relative_to(root) or not path.is_file():
            raise TemplateNotFound(template)
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"{path}: cannot be read as UTF-8: {error}") from error
        self.names[str(path)] = template
        return text, str(path), None


def _environment(kind: Kind, files: _Files) -> Environment:
    environment = _Sandbox(
        loader=files,
        undefined=StrictUndefined,
        autoescape=kind is not KINDS[".txt.j2"],
        finalize=kind.finalize,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        auto_reload=False,
        cache_size=-1,
    )
    del environment.globals["lipsum"]  # it is made by chance
    environment.filters |= kind.filters
    for name in kind.without:
        del environment.filters[name]
    return environment


# -- reading -------------------------------------------------------------------------------------------------------


def _read(environment: Environment, files: _Files, name: str, read: set[str]) -> None:
    """Compile a file and what it includes, so that rendering reads none; find what is sure to fail then."""
    environment.get_template(name)
    text, filename, _ = files.get_source(environment, name)
    tree = environment.parse(text, name, filename)
    if not read:  # what is included may have names from where it is included
        _check_names(environment, tree, filename)
    read.add(name)
    for included, line in _inclusions(tree, filename):
        if included in read:
            continue
        try:
            _read(environment, files, included, read)
        except TemplateNotFound as error:
            raise ConfigurationError(
                f"{filename}:{line}: there is no file {included} in {files.folder}; put it there"
            ) from error


def _inclusions(tree: nodes.Template, filename: str) -> Iterator[tuple[str, int]]:
    kinds: tuple[type[Any], ...] = (nodes.Extends, nodes.Include, nodes.Import, nodes.FromImport)
    for kind in kinds:
        for node in tree.find_all(kind):
            if not isinstance(node.template, nodes.Const) or not isinstance(node.template.value, str):
                raise ConfigurationError(f"{filename}:{node.lineno}: includes by an expression; write one file's name")
            yield node.template.value, node.lineno


def _check_names(environment: Environment, tree: nodes.Template, filename: str) -> None:
    """Refuse names that cannot be there."""
    unknown = find_undeclared_variables(tree).difference(_NAMES, environment.globals)
    for name in tree.find_all(nodes.Name):
        if name.name in unknown:
            raise ConfigurationError(
                f"{filename}:{name.lineno}: there is no {name.name}; there are {', '.join(_NAMES)}"
            )
    for field in tree.find_all(nodes.Getattr):
        of_receipt = isinstance(field.node, nodes.Name) and field.node.name == "receipt"
        if of_receipt and field.attr not in _FIELDS and not hasattr(dict, field.attr):
            raise ConfigurationError(
                f"{filename}:{field.lineno}: the receipt has no {field.attr}; it has {', '.join(sorted(_FIELDS))}"
            )
