"""What a registrar's answers mean. The stand-in is the outside world; the real wire is in tests/acceptance."""

from __future__ import annotations

import dataclasses
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import orjson
import pytest
import yaml
from pydantic import SecretStr

from receiptd.documents import ReceiptTypes
from receiptd.domain import lifecycle as lc
from receiptd.domain.errors import OutboundError
from receiptd.domain.receipt import RegistrationState, Submission
from receiptd.pipeline.registration import NotSent, RegistrarClient
from receiptd.ports import HttpCall, HttpReply
from receiptd.settings import CallbackSettings, RegistrarAuth, RegistrarSettings, RetrySettings

RECEIPT_ID = "20260101-" + "0" * 24
FACTS = Submission(RECEIPT_ID, "c", "till", 2, 100.0, "text/xml; charset=windows-1251", "d", b"<a/>", b'{"n":1}')
RECEIPT = lc.accept(FACTS, ("tax",), ())


class Registrar:
    def __init__(self, *replies):
        self.replies = list(replies)
        self.calls: list[HttpCall] = []

    async def send(self, call: HttpCall) -> HttpReply:
        self.calls.append(call)
        reply = self.replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return reply


class FixedClock:
    def now(self):
        return 140.0


def reply(status, body=None, **headers):
    return HttpReply(status, headers, b"" if body is None else orjson.dumps(body))


TYPE = {
    "id": "till",
    "version": 2,
    "title": "Till",
    "format": "json",
    "registrars": ["tax"],
    "mapping": {
        "number": "/n",
        "issued_at": "/at",
        "seller": "/s",
        "currency": "/c",
        "total": "/t",
        "lines": {"each": "/l", "description": "/d", "amount": "/a"},
    },
}


def receipt_types(root, changes=None, **files):
    """Read a catalogue that holds ``till@2``, with some changes to its type.yaml and templates beside it."""
    folder = root / "till"
    folder.mkdir()
    (folder / "type.yaml").write_text(yaml.safe_dump(TYPE | (changes or {})))
    for stem, content in files.items():
        (folder / f"{stem}.json.j2").write_text(content)
    return ReceiptTypes.read([root])


@cache
def plain_types():
    with TemporaryDirectory() as root:
        return receipt_types(Path(root))


def client(registrar, types=None, **settings):
    defaults = {
        "id": "tax",
        "url": "https://tax.example/receipts",
        "callback": CallbackSettings(secrets=(SecretStr("whsec_c2VjcmV0"),), deadline_s=30),
        "retry": RetrySettings(base_s=1, cap_s=60, max_attempts=3, hot_max_s=2),
    }
    made = RegistrarSettings(**{**defaults, **settings})
    return RegistrarClient(made, registrar, FixedClock(), "https://me.example", lambda: types or plain_types())


async def outcome(*replies, receipt=RECEIPT, **settings):
    return await client(Registrar(*replies), **settings).register(receipt)


async def test_the_request_carries_the_bytes_the_key_and_the_callback_address_invariant_5():
    registrar = Registrar(reply(202))
    made = client(registrar, auth=RegistrarAuth(type="bearer", token=SecretStr("t0k")))
    await made.register(RECEIPT)
    call = registrar.calls[0]
    assert (call.method, call.url, call.body) == ("POST", "https://tax.example/receipts", b"<a/>")
    assert call.headers["Idempotency-Key"] == RECEIPT_ID
    assert call.headers["Content-Type"] == "text/xml; charset=windows-1251"
    assert call.headers["Receipt-Type"] == "till@2"
    assert call.headers["Authorization"] == "Bearer t0k"
    base, token = call.headers["Callback-Url"].rsplit("/", 1)
    assert base == "https://me.example/v1/callbacks/tax"
    assert made.tokens.read(token) == ("c", RECEIPT_ID)


async def test_a_registrar_may_want_the_canonical_receipt():
    registrar = Registrar(reply(202))
    await client(registrar, sends="canonical").register(RECEIPT)
    assert registrar.calls[0].body == b'{"n":1}'
    assert registrar.calls[0].headers["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    ("sends", "body", "content_type"),
    [
        ("original", b"<a/>", "text/xml; charset=windows-1251"),
        ("canonical", b'{"n":1}', "application/json"),
        ("slip.json.j2", b'{"no": 1, "id": "%b"}' % RECEIPT_ID.encode(), "application/json"),
    ],
)
async def test_the_type_may_say_what_a_registrar_gets(tmp_path, sends, body, content_type):
    types = receipt_types(
        tmp_path,
        {"registrars": [{"id": "tax", "sends": sends}, "warehouse"]},
        slip='{"no": {{ receipt["n"] }}, "id": {{ id }}}',
    )
    for settings in ("original", "canonical"):  # whatever the registrar's own say
        registrar = Registrar(reply(202))
        await client(registrar, types, sends=settings).register(RECEIPT)
        assert registrar.calls[0].body == body
        assert registrar.calls[0].headers["Content-Type"] == content_type


async def test_a_template_sends_the_same_again_under_the_same_key_invariant_5(tmp_path):
    types = receipt_types(
        tmp_path, {"registrars": [{"id": "tax", "sends": "slip.json.j2"}]}, slip="[{{ accepted_at }}, {{ id }}]"
    )
    registrar = Registrar(reply(503), reply(202))
    made = client(registrar, types)
    for _ in range(2):
        await made.register(RECEIPT)
    first, second = registrar.calls
    assert first.body == second.body == b'["1970-01-01T00:01:40.000Z", "%b"]' % RECEIPT_ID.encode()
    assert first.headers["Idempotency-Key"] == second.headers["Idempotency-Key"] == RECEIPT_ID


@pytest.mark.parametrize("changes", [{"version": 1}, {"id": "other"}])
async def test_a_type_that_is_not_loaded_any_more_waits_for_its_folder(tmp_path, changes):
    registrar = Registrar(reply(202))
    event = await client(registrar, receipt_types(tmp_path, changes)).register(RECEIPT)
    assert isinstance(event, NotSent)
    assert event.reason == "receipt type till@2 is not loaded; add its folder again"
    assert event.retry_at is not None
    assert registrar.calls == []
    assert isinstance(await client(registrar).register(RECEIPT), lc.Submitted), "once it is back"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("\n{{ receipt.lines }}", "template slip.json.j2, line 2: it uses a name or a field that is not there"),
        ("{{ receipt.l", "slip.json.j2:1: "),  # it does not compile, which nobody had time to find yet
    ],
)
async def test_what_cannot_be_written_is_a_failed_attempt_that_parks_in_the_end(tmp_path, content, says):
    types = receipt_types(tmp_path, {"registrars": [{"id": "tax", "sends": "slip.json.j2"}]}, slip=content)
    registrar, receipt = Registrar(), RECEIPT
    for attempt in (1, 2, 3):
        event = await client(registrar, types).register(receipt)
        assert isinstance(event, NotSent)
        assert says in event.reason
        assert (event.retry_at is None) == (attempt == 3)
        receipt, _ = lc.advance(receipt, event)
        assert receipt.registrations[0].attempts == attempt
    assert receipt.registrations[0].state is RegistrationState.PARKED
    assert says in receipt.registrations[0].reason
    assert registrar.calls == []


@pytest.mark.parametrize(
    ("answer", "event"),
    [
        (reply(200, {"status": "registered", "reference": "T-1"}), lc.Confirmed("tax", 140.0, "T-1")),
        (reply(201, {"status": "registered"}), lc.Confirmed("tax", 140.0, "")),
        (reply(200, {"status": "rejected", "reason": "no"}), lc.Refused("tax", 140.0, "no", "")),
        (reply(202, {"reference": "T-1"}), lc.Submitted("tax", 140.0, 170.0, "T-1")),
        (reply(202), lc.Submitted("tax", 140.0, 170.0, "")),
        (reply(422, {"reason": "bad seller"}), lc.Refused("tax", 140.0, "bad seller", "")),
        (reply(400), lc.Refused("tax", 140.0, "refused with status 400", "")),
    ],
)
async def test_an_answer_about_the_receipt_is_a_verdict(answer, event):
    assert await outcome(answer) == event


@pytest.mark.parametrize(
    "answer",
    [
        reply(200),
        reply(200, {"status": "perhaps"}),
        reply(200, ["registered"]),
        HttpReply(200, {}, b"<html>welcome</html>"),
        reply(301),
        reply(401, {"reason": "expired"}),
        reply(404),
        reply(409, {"reason": "the first call is still being worked on"}),
        ValueError("the URL is none"),
        reply(429),
        reply(503),
        OutboundError("timed out", sent=True),
    ],
)
async def test_an_answer_about_anything_else_is_tried_again(answer):
    event = await outcome(answer)
    assert isinstance(event, lc.AttemptFailed)
    assert event.retry_at is not None
    assert 140.5 <= event.retry_at <= 141.0
    assert not event.durable


async def test_a_registrar_without_callbacks_that_answers_202_has_given_no_verdict():
    assert isinstance(await outcome(reply(202), answers="synchronous"), lc.AttemptFailed)


async def test_retry_after_is_honoured_and_bounded_and_waits_durably():
    event = await outcome(reply(503, **{"retry-after": "30"}))
    assert (event.retry_at, event.durable) == (170.0, True)
    event = await outcome(reply(503, **{"retry-after": "99999"}))
    assert event.retry_at == 200.0


async def test_used_up_retries_park():
    tired, _ = lc.advance(RECEIPT, lc.AttemptFailed("tax", 1.0, "503", 2.0))
    tired, _ = lc.advance(tired, lc.AttemptFailed("tax", 1.0, "503", 2.0))
    event = await outcome(reply(503), receipt=tired)
    assert event == lc.AttemptFailed("tax", 140.0, "answered 503 without a verdict", None)


class TestOverdueCallback:
    submitted, _ = lc.advance(RECEIPT, lc.Submitted("tax", 1.0, 31.0))
    status_url = "https://tax.example/receipts/{receipt_id}"

    async def test_it_asks_first(self):
        registrar = Registrar(reply(200, {"status": "registered"}))
        event = await client(registrar, status_url=self.status_url).register(self.submitted)
        assert isinstance(event, lc.Confirmed)
        assert [(c.method, c.url) for c in registrar.calls] == [("GET", f"https://tax.example/receipts/{RECEIPT_ID}")]

    async def test_still_deciding_renews_the_deadline(self):
        event = await outcome(reply(202), receipt=self.submitted, status_url=self.status_url)
        assert event == lc.Submitted("tax", 140.0, 170.0, "")

    async def test_the_older_the_receipt_the_less_often_it_is_asked_about(self):
        facts = dataclasses.replace(self.submitted.submission, accepted_at=-860.0)
        old = dataclasses.replace(self.submitted, submission=facts)
        event = await outcome(reply(202), receipt=old, status_url=self.status_url)
        assert event == lc.Submitted("tax", 140.0, 640.0, "")

    async def test_a_status_of_the_question_is_no_verdict_on_the_receipt_invariant_2(self):
        event = await outcome(reply(400), reply(202), receipt=self.submitted, status_url=self.status_url)
        assert event == lc.Submitted("tax", 140.0, 170.0, "", again=True)

    async def test_never_seen_is_submitted_again_under_the_same_key_invariant_5(self):
        registrar = Registrar(reply(404), reply(202))
        await client(registrar, status_url=self.status_url).register(self.submitted)
        assert [c.method for c in registrar.calls] == ["GET", "POST"]
        assert registrar.calls[1].headers["Idempotency-Key"] == RECEIPT_ID

    async def test_without_a_place_to_ask_it_submits_again(self):
        assert isinstance(await outcome(reply(202), receipt=self.submitted), lc.Submitted)

    async def test_callbacks_that_never_come_park_in_the_end(self):
        registration = dataclasses.replace(self.submitted.registrations[0], attempts=2)
        tired = dataclasses.replace(self.submitted, registrations=(registration,))
        assert await outcome(receipt=tired) == lc.AttemptFailed("tax", 140.0, "no callback came", None)
