"""The stand-ins' HTTP face: routes, and the control of the knobs at run time.

``POST /{registrar}/receipts`` · ``GET /{registrar}/receipts/{key}`` · ``POST /hooks/{client}`` · ``GET`` and ``PUT
/_control`` · ``GET /_effects`` and ``/_hooks`` (NDJSON, ``?after=SERIAL&limit=N``) · ``GET /livez``
"""

from __future__ import annotations

import re
from typing import Any, Final
from urllib.parse import parse_qs, unquote

import orjson

from receiptd.domain.errors import ConfigurationError
from receiptd.http.message import Request, Response
from receiptd.simulation.answers import answer, lines, problem
from receiptd.simulation.hooks import Hooks
from receiptd.simulation.knobs import Knobs
from receiptd.simulation.records import Book, Effect, Hook
from receiptd.simulation.registrar import Registrars

_REGISTRAR: Final = re.compile(r"[a-z][a-z0-9-]{0,31}")
_CONTROL_MAX_BYTES: Final = 1_048_576
_PAGE_DEFAULT: Final = 1_000
_PAGE_MAX: Final = 10_000


class KnobBoard:
    """Holds the knobs that are in force."""

    def __init__(self, initial: Knobs) -> None:
        self._initial = initial
        self._knobs = initial

    def __call__(self) -> Knobs:
        """Return the knobs in force."""
        return self._knobs

    def turn(self, patch: Any) -> None:
        """Lay ``patch`` (decoded JSON, see ``Knobs.merged``) over the knobs in force.

        ``{"reset": true, …}`` starts from the initial ones. Raises ConfigurationError.
        """
        if not isinstance(patch, dict):
            raise ConfigurationError("the knobs are a JSON object")
        rest = {name: value for name, value in patch.items() if name != "reset"}
        base = self._initial if patch.get("reset") is True else self._knobs
        self._knobs = base.merged(rest)


class SimulatorApplication:
    """Implements the server's Application for every stand-in."""

    def __init__(
        self, knobs: KnobBoard, registrars: Registrars, hooks: Hooks, effects: Book[Effect], hook_book: Book[Hook]
    ) -> None:
        self._knobs = knobs
        self._registrars = registrars
        self._hooks = hooks
        self._books: dict[str, Book[Effect] | Book[Hook]] = {"_effects": effects, "_hooks": hook_book}

    def admit(self, request: Request, content_length: int | None) -> Response | None:
        """Take every head; the server's own limits bound the body."""
        del request, content_length
        return None

    def refuse(self, status: int, code: str, detail: str) -> Response:
        """Build the server's own refusals."""
        del code
        return problem(status, detail)

    async def handle(self, request: Request) -> Response:
        """Route a request."""
        match request.method, request.path.split("/")[1:]:
            case "POST", ["hooks", client] if client:
                response = await self._hooks.receive(unquote(client), request)
            case "POST", [registrar, "receipts"] if _REGISTRAR.fullmatch(registrar):
                response = await self._registrars.submit(registrar, request)
            case "GET", [registrar, "receipts", key] if _REGISTRAR.fullmatch(registrar):
                response = await self._registrars.status(registrar, unquote(key))
            case "GET", ["_effects" | "_hooks" as name]:
                response = self._page(self._books[name], request.query)
            case "GET", ["_control"]:
                response = answer(200, self._state())
            case "PUT", ["_control"]:
                response = self._control(request.body)
            case "GET", ["livez"]:
                response = answer(200, {"status": "ok"})
            case _:
                response = problem(404, "there is no such path here; see receiptd simulate --help")
        return response

    def _page(self, book: Book[Effect] | Book[Hook], query: str) -> Response:
        asked = parse_qs(query)
        try:
            after = int(asked.get("after", ["0"])[-1])
            limit = int(asked.get("limit", [str(_PAGE_DEFAULT)])[-1])
        except ValueError:
            return problem(400, "after and limit are whole numbers")
        if not (after >= 0 and 0 < limit <= _PAGE_MAX):
            return problem(400, f"after is 0 or more, limit is 1 to {_PAGE_MAX}")
        return lines([record.as_json() for record in book.after(after, limit)])

    def _control(self, body: bytes) -> Response:
        if len(body) > _CONTROL_MAX_BYTES:
            return problem(413, f"the knobs fit into {_CONTROL_MAX_BYTES} bytes")
        try:
            self._knobs.turn(orjson.loads(body))
        except orjson.JSONDecodeError:
            return problem(400, "the body is not JSON")
        except ConfigurationError as error:
            return problem(400, str(error))
        return answer(200, self._state())

    def _state(self) -> dict[str, Any]:
        """Return the knobs and totals; secrets stay inside."""
        knobs = self._knobs()
        return {
            **knobs.model_dump(exclude={"webhook_secrets"}),
            "webhook_clients": sorted(knobs.webhook_secrets),
            "effects_seen": self._books["_effects"].serial,
            "hooks_seen": self._books["_hooks"].serial,
        }
