"""What every benchmark shares: paired timing, and the line that it ends with."""

import argparse
import importlib.metadata
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence


def parse_quick(name: str, question: str, argv: Sequence[str] | None = None) -> bool:
    """Reads a benchmark's command line: whether it is to be short."""
    return build_parser(name, question).parse_args(argv).quick


def build_parser(name: str, question: str) -> argparse.ArgumentParser:
    """A benchmark's command line, for those that take more than `--quick`."""
    parser = argparse.ArgumentParser(f"benchmarks.{name}", description=question)
    parser.add_argument("--quick", action="store_true", help="small sizes, few runs")
    return parser


def time_of(run: Callable[[], object]) -> float:
    """Seconds that one call takes."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def compare_rates(
    ours: Callable[[], float], rival: Callable[[], float], repeats: int
) -> list[float]:
    """Measures two rates in turn, so that a slower machine slows both.

    Args:
        ours: runs our side and returns its rate; more is better.
        rival: runs the other side.
        repeats: pairs of runs that count; one more warms up.

    Returns:
        Our rate over the rival's, a number a pair.
    """
    pairs = [(ours(), rival()) for _ in range(repeats + 1)]
    return [mine / theirs for mine, theirs in pairs[1:]]


def compare(
    benchmark: str,
    ours: Callable[[], object],
    rival: Callable[[], object],
    repeats: int,
    size: int,
    target: float,
    parity: bool,
    packages: Sequence[str],
    rival_size: int | None = None,
    **details,
) -> dict:
    """Times two ways to the same result in turn, and sums it up as `result` does.

    Args:
        benchmark: its name.
        ours: does the work once, our way.
        rival: does it the other way.
        repeats: pairs of runs that count; one more warms up.
        size: examples that a run works on.
        target: ratio aimed at.
        parity: whether both sides gave the same output.
        packages: distributions whose versions matter.
        rival_size: examples that a run of the rival works on, if not `size`.
        **details: more to print.
    """
    sizes = {"ours": size, "rival": rival_size or size}
    rates: dict[str, list[float]] = {"ours": [], "rival": []}

    def rate_of(name, run):
        rates[name].append(sizes[name] / time_of(run))
        return rates[name][-1]

    ratios = compare_rates(
        lambda: rate_of("ours", ours), lambda: rate_of("rival", rival), repeats
    )
    each = {
        f"{k}_per_second": float(f"{statistics.median(v[1:]):.4g}")
        for k, v in rates.items()
    }
    found = result(benchmark, ratios, target, parity, packages, **each, **details)
    print(found, file=sys.stderr, flush=True)
    return found


def result(
    benchmark: str,
    ratios: Sequence[float],
    target: float,
    parity: bool,
    packages: Sequence[str],
    **details,
) -> dict:
    """Sums up a comparison: median ratio, its range, and what it was run with.

    Args:
        benchmark: its name.
        ratios: ours over the rival's, above 1 where ours is better.
        target: ratio aimed at.
        parity: whether both sides gave the same output.
        packages: distributions whose versions matter.
        **details: more to print, such as absolute rates.
    """
    return {
        "benchmark": benchmark,
        "ratio": round(statistics.median(ratios), 3),
        "low": round(min(ratios), 3),
        "high": round(max(ratios), 3),
        "target": target,
        "parity": bool(parity),
        "versions": {name: importlib.metadata.version(name) for name in packages},
        **details,
    }


def report(*results: dict) -> int:
    """Prints a line for people a result, then all as the last line, JSON."""
    for r in results:
        print(
            f"{r['benchmark']}: {r['ratio']} times the rival [{r['low']}, {r['high']}]"
            f", target {r['target']}, {'equal' if r['parity'] else 'UNEQUAL'} output"
        )
    print(json.dumps(results[0] if len(results) == 1 else results))
    return 0 if all(r["parity"] for r in results) else 1
