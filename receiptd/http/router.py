"""From method and path to a route: a tree of path segments, so the cost is that of the path's length alone."""

from __future__ import annotations

from dataclasses import dataclass, field

from receiptd.http.answers import NO_STORE, allow
from receiptd.http.message import Handler, Request, Response
from receiptd.http.problems import ProblemError
from receiptd.http.uri import percent_decode


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Where a request goes. ``query`` names the parameters it may carry, ``body_max_bytes`` bounds its body."""

    name: str
    handler: Handler
    query: tuple[str, ...]
    body_max_bytes: int


@dataclass(slots=True)
class _Node:
    children: dict[str, _Node] = field(default_factory=dict)
    parameter: _Node | None = None
    routes: dict[str, Route] = field(default_factory=dict)


class Router:
    """Routes by method and path. A path's parameters (``{name}``) match one segment that is not empty."""

    def __init__(self) -> None:
        self._root = _Node()

    def add(self, method: str, path: str, route: Route) -> None:
        """Send ``method`` on ``path`` to ``route``; GET brings HEAD along (RFC 9110, section 9.3.2)."""
        node = self._root
        for segment in path.split("/")[1:]:
            if segment.startswith("{"):
                node.parameter = node.parameter or _Node()
                node = node.parameter
            else:
                node = node.children.setdefault(segment, _Node())
        node.routes[method] = route
        if method == "GET":
            node.routes["HEAD"] = route

    def match(self, request: Request) -> Route | Response:
        """Return the route of ``request`` and set its ``params``, or the ready answer to OPTIONS.

        Raises:
            ProblemError: the path is malformed (400), unknown (404), or does not know the method (405).
        """
        node, params = self._root, []
        for raw in request.path.split("/")[1:]:
            segment = _decode(raw) if "%" in raw or not raw.isascii() else raw
            child = node.children.get(segment)
            if child is None:
                child = node.parameter
                if child is None or not segment:
                    raise _nothing()
                params.append(segment)
            node = child
        route = node.routes.get(request.method)
        if route is not None:
            request.params = tuple(params)
            return route
        if request.path == "*":  # asks about the server as a whole (RFC 9110, section 9.3.7)
            return Response(204, headers=NO_STORE)
        if not node.routes:
            raise _nothing()
        methods = (*node.routes, "OPTIONS")
        if request.method == "OPTIONS":
            return Response(204, headers=NO_STORE + allow(methods))
        raise ProblemError("method-not-allowed", f"This path knows {', '.join(methods)} only.", headers=allow(methods))


def _nothing() -> ProblemError:
    return ProblemError("not-found", "There is nothing at this path. See /docs for what there is.")


def _decode(segment: str) -> str:
    try:
        return percent_decode(segment)
    except ValueError as error:
        raise ProblemError("path-malformed", "The path must be percent-encoded UTF-8 (RFC 3986).") from error
