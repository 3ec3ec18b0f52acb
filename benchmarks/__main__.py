"""``python -m benchmarks [PART …]``: compare with what one would use instead; all parts if none is named."""

from __future__ import annotations

import argparse
import time
from importlib import import_module

#: The parts: modules of this package, each with a function ``main()``.
PARTS = ("startup", "reset", "writes", "suite", "processes")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    given = parser.parse_args()
    unknown = set(given.parts) - set(PARTS)
    if unknown:
        parser.error(f"there is no part {', '.join(sorted(unknown))}; the parts are {', '.join(PARTS)}")
    for part in given.parts or PARTS:
        print(f"== {part} ({time.strftime('%Y-%m-%d %H:%M %Z')})\n", flush=True)
        import_module(f"benchmarks.{part}").main()
        print(flush=True)


if __name__ == "__main__":
    main()
