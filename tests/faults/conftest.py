from faults.counting import ROUNDS, counts


def pytest_terminal_summary(terminalreporter):
    if counts:
        terminalreporter.write_sep("-", f"faults, HEARONCE_FAULT_ROUNDS={ROUNDS}")
        for name, number in sorted(counts.items()):
            terminalreporter.write_line(f"{number:8d} {name}")
