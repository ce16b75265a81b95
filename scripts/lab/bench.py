"""The benchmarks' command line: each prints its table, then a last line of JSON; exit status 1 when anything failed."""

from __future__ import annotations

import argparse
import json
import sys

from lab import documents_bench, pipeline_bench, wire_bench
from lab.site import SiteError


def main() -> None:
    """Measure what is asked for and print it."""
    parser = argparse.ArgumentParser(prog="bench", description="What a receipt costs.")
    kinds = parser.add_subparsers(dest="kind", required=True)
    pipeline = kinds.add_parser("pipeline", help="one receipt, from its POST to its webhook, beside the null pipeline")
    pipeline_bench.add_options(pipeline)
    documents = kinds.add_parser("documents", help="one document's check, beside bare parsing and schema validation")
    documents_bench.add_options(documents)
    wire = kinds.add_parser("wire", help="each hot call of AWS, beside the same call through aiobotocore")
    wire_bench.add_options(wire)
    for kind in (pipeline, documents, wire):
        kind.add_argument("--json", action="store_true", help="print the JSON line only")
    arguments = parser.parse_args()
    measures = {"pipeline": pipeline_bench.measure, "documents": documents_bench.measure, "wire": wire_bench.measure}
    try:
        result, table = measures[arguments.kind](arguments)
    except SiteError as error:
        sys.exit(f"bench: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
    if not arguments.json:
        print(table)
    print(json.dumps(result))
    sys.exit(1 if result.get("errors") else 0)


if __name__ == "__main__":
    main()
