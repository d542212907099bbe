"""Says at the end of the tests how many inputs were tried."""

from tests.fuzz import outcomes


def pytest_terminal_summary(terminalreporter):
    """Prints the counts; a test that tried none would be noticed."""
    if outcomes.COUNTS:
        total = f"{sum(outcomes.COUNTS.values()):,} inputs"
        terminalreporter.section(f"bad input: {total}")
        ranked = sorted(outcomes.COUNTS.items())
        terminalreporter.write_line(", ".join(f"{k} {n:,}" for k, n in ranked))
        peak = f"{outcomes.peak_megabytes():,.0f} MB at most"
        terminalreporter.write_line(peak)
