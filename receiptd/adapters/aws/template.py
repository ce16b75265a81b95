"""Reads a CloudFormation template as far as ours go: parameters, ``Fn::ForEach``, ``Ref``, ``Fn::Sub``, ``Fn::GetAtt``.

What it does not understand it refuses, by name: a resource that is half understood would be provisioned wrongly.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from receiptd.domain.errors import ConfigurationError

_FOR_EACH: Final = "Fn::ForEach::"
_PLACE: Final = re.compile(r"\$\{([^!{}]+)\}")
_LOGICAL_ID: Final = re.compile(r"[A-Za-z0-9]+")


@dataclass(frozen=True, slots=True)
class Reference:
    """Another resource of the template, or (with ``attribute``) an attribute of it."""

    resource: str
    attribute: str = ""


@dataclass(frozen=True, slots=True)
class Declaration:
    """A resource as the template declares it, with everything filled in that is no :class:`Reference`."""

    type: str
    properties: Mapping[str, Any]


class _Loader(yaml.SafeLoader):
    """YAML with the short forms of the functions that are understood; any other tag is an error."""


def _get_attribute(loader: yaml.SafeLoader, node: yaml.Node) -> dict[str, Any]:
    if isinstance(node, yaml.SequenceNode):
        return {"Fn::GetAtt": loader.construct_sequence(node, deep=True)}
    return {"Fn::GetAtt": _scalar(loader, node).split(".", 1)}


def _scalar(loader: yaml.SafeLoader, node: yaml.Node) -> str:
    if not isinstance(node, yaml.ScalarNode):
        raise yaml.constructor.ConstructorError(None, None, f"{node.tag} is understood of text only", node.start_mark)
    return str(loader.construct_scalar(node))


def _ref(loader: yaml.SafeLoader, node: yaml.Node) -> dict[str, str]:
    return {"Ref": _scalar(loader, node)}


def _sub(loader: yaml.SafeLoader, node: yaml.Node) -> dict[str, str]:
    return {"Fn::Sub": _scalar(loader, node)}


_Loader.add_constructor("!Ref", _ref)
_Loader.add_constructor("!Sub", _sub)
_Loader.add_constructor("!GetAtt", _get_attribute)


class Template:
    """A template and the values of its parameters.

    Args:
        path: the file.
        parameters: values of parameters; the others have their defaults.
        pseudo: values of pseudo parameters, such as ``AWS::Region``.

    Raises:
        ConfigurationError: the file cannot be read, or a parameter's value is wrong.
    """

    def __init__(self, path: Path, parameters: Mapping[str, Any], pseudo: Mapping[str, str]) -> None:
        self._path = path
        try:
            document = yaml.load(path.read_text(encoding="utf-8"), _Loader)  # noqa: S506 - it extends the safe loader
        except OSError as error:
            raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from error
        except yaml.YAMLError as error:
            raise ConfigurationError(f"{path}: {error}") from error
        self._resources: Mapping[str, Any] = document["Resources"]
        self._values: dict[str, Any] = dict(pseudo)
        declared: Mapping[str, Any] = document.get("Parameters", {})
        if unknown := set(parameters) - set(declared):
            raise self._fault(f"has no parameter {', '.join(sorted(unknown))}")
        for name, facts in declared.items():
            self._values[name] = self._parameter(name, facts, parameters.get(name, facts.get("Default")))
        self._known: frozenset[str] = frozenset()

    def declarations(self) -> dict[str, Declaration]:
        """Return the resources by logical id. Raises ConfigurationError for what is not understood."""
        found: dict[str, tuple[Any, Mapping[str, str]]] = {}
        for name, body, bound in self._members(self._resources, {}):
            if not _LOGICAL_ID.fullmatch(name):
                raise self._fault(f"{name} is no logical id: only letters and digits can be in a name looped over")
            if name in found:
                raise self._fault(f"{name} is declared twice")
            found[name] = body, bound
        self._known = frozenset(found)
        return {
            name: Declaration(body["Type"], self._resolve(body.get("Properties", {}), bound, name))
            for name, (body, bound) in found.items()
        }

    def _parameter(self, name: str, facts: Mapping[str, Any], value: Any) -> Any:
        if value is None:
            raise self._fault(f"needs a value for {name}")
        if facts["Type"] == "CommaDelimitedList":
            return [item.strip() for item in value.split(",")] if isinstance(value, str) else list(value)
        if facts["Type"] == "Number":
            return int(value)
        pattern = facts.get("AllowedPattern")
        allowed = facts.get("AllowedValues", [value])
        if (pattern and not re.fullmatch(pattern, value)) or value not in allowed:
            raise self._fault(f"{name} cannot be {value!r}")
        return value

    def _members(self, body: Mapping[str, Any], bound: Mapping[str, str]) -> Iterator[tuple[str, Any, dict[str, str]]]:
        for key, member in body.items():
            if not key.startswith(_FOR_EACH):
                yield self._fill(key, bound, key), member, dict(bound)
                continue
            identifier, collection, fragment = member
            for item in self._resolve(collection, bound, key):
                yield from self._members(fragment, {**bound, identifier: item})

    def _resolve(self, node: Any, bound: Mapping[str, str], where: str) -> Any:
        if isinstance(node, list):
            return [self._resolve(item, bound, where) for item in node]
        if not isinstance(node, dict):
            return node
        match node:
            case {"Ref": str(name)} if len(node) == 1:
                return self._named(name, bound, where)
            case {"Fn::Sub": str(text)} if len(node) == 1:
                return self._fill(text, bound, where)
            case {"Fn::GetAtt": [resource, str(attribute)]} if len(node) == 1:
                name = self._resolve(resource, bound, where)
                if name not in self._known:
                    raise self._fault(f"{where}: there is no resource {name}")
                return Reference(name, attribute)
        if functions := [key for key in node if key.startswith("Fn::") or key in {"Ref", "Condition"}]:
            raise self._fault(f"{where}: {functions[0]} is not understood in this form")
        return {key: self._resolve(item, bound, where) for key, item in node.items()}

    def _named(self, name: str, bound: Mapping[str, str], where: str) -> Any:
        if name in bound:
            return bound[name]
        if name in self._values:
            return self._values[name]
        if name in self._known:
            return Reference(name)
        raise self._fault(f"{where}: nothing is called {name}")

    def _fill(self, text: str, bound: Mapping[str, str], where: str) -> str:
        def value(place: re.Match[str]) -> str:
            found = self._named(place[1], bound, where)
            if isinstance(found, Reference | list):
                raise self._fault(f"{where}: {place[0]} has no value as text")
            return str(found)

        return _PLACE.sub(value, text)

    def _fault(self, text: str) -> ConfigurationError:
        return ConfigurationError(f"{self._path}: {text}")
