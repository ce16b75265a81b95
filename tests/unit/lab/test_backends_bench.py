"""What the comparison of the back ends makes of its readings."""

from types import SimpleNamespace

from lab.backends_bench import Counted, Course
from lab.peers import Tally, Target
from lab.slices import Slice


def test_what_a_slice_costs_is_the_cpu_until_the_next_one_begins():
    cpu = iter((1.0, 1.5, 2.5))
    side = SimpleNamespace(process=SimpleNamespace(cpu_s=lambda: next(cpu)), target=Target("aws", 1, ""))
    course = Course(side)
    for completed in (1000, 500):
        course.mark()
        course.slices.append(Slice(Tally(completed=completed), 1.0, 0.1, 0.1))
    course.mark()
    assert course.cpu_us == [500.0, 2000.0]


def test_counts_are_differences_for_each_receipt():
    before = {
        "requests": {"sqs.SendMessageBatch": 5, "dynamodb.GetItem": 1},
        "sqs_chunks": {"SendMessageBatch": 5},
        "write_units": {"t": 10.0},
        "read_units": {},
        "traffic": {"sqs_bytes": 100},
        "item_bytes": 1000,
    }
    after = {
        "requests": {"sqs.SendMessageBatch": 25, "dynamodb.GetItem": 41},
        "sqs_chunks": {"SendMessageBatch": 45},
        "write_units": {"t": 310.0},
        "read_units": {"t": 50.0},
        "traffic": {"sqs_bytes": 1100},
        "item_bytes": 91_000,
    }
    counted = Counted(receipts=100)
    counted.add(before, after)
    report = counted.report()
    assert report["sqs_requests_per_receipt"] == 0.4
    assert report["write_units_per_receipt"] == 3.0
    assert report["read_units_per_receipt"] == 0.5
    assert report["sqs_requests"] == {"SendMessageBatch": 0.4}
    assert report["dynamodb_requests"] == {"GetItem": 0.4}
    assert (report["sqs_bytes"], report["item_bytes"]) == (10, 900)
