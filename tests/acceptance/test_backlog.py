"""What a registrar's outage parked drains without a storm: invariants 2, 12 and 13.

At full size: ``scripts/chaos --backlog 20000 --backend aws``, or ``embedded``.
"""

from __future__ import annotations

import pytest

from lab import backlog
from lab.aws_site import AwsSite
from lab.site import Site

RECEIPTS = 200
RATE_PER_S = 50
OUTAGE_S = 5
SETTINGS = {"RECOVERY__DELAY_S": "1", "LOG__RECEIPTS": "false"}
"""Three rounds of recovery meet the outage, and must not leave three more messages of each receipt."""


@pytest.fixture(params=[Site, AwsSite])
def site(request):
    registrar = backlog.REGISTRAR.format(rate=RATE_PER_S, open_max=backlog.OPEN_MAX_S)
    made = request.param(settings=SETTINGS, registrar=registrar)
    yield made
    made.remove()


async def test_a_parked_backlog_drains_at_the_registrars_rate_beside_new_receipts(site):
    trial = backlog.Backlog(site, receipts=RECEIPTS, rate_per_s=RATE_PER_S, outage_s=OUTAGE_S)
    try:
        found = await trial.run()
    finally:
        trial.stop()
    assert not found.problems, found
    assert found.lost == 0
    assert found.calls_while_open >= 2, "the circuit is probed"
    assert found.live > 5
    # Half of the rate at worst belongs to the backlog, and it is used.
    assert found.drained_s < 2 * RECEIPTS / RATE_PER_S + 10
    # Most of the backlog still stood before them, under the same client's name too.
    assert found.live_p50_s < RECEIPTS / RATE_PER_S / 2
