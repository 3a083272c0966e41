"""The measurements, as they are printed and as the page shows them."""
import pathlib
import re

DOCS = pathlib.Path(__file__).resolve().parents[2] / "docs"
PAGE = DOCS / "performance.md"
CHART = DOCS / "images/cost.svg"
TABLE = ("<!-- table: made by bench/run --write -->", "<!-- end of the table -->")
CURVE = ("<!-- curve: made by bench/run --write -->", "<!-- end of the curve -->")


HEAD = ["| row | what | ratio | goal | | medians [range of the ratio] |", "|---|---|---|---|---|---|"]


class Rows:
    """Prints each row when it is known, and keeps it for the page."""

    def __init__(self):
        self.rows = []

    def add(self, number, what, value, note, goal, sense):
        is_met = value >= goal if sense == "at least" else value <= goal
        shown = f"{value:.0f}" if value >= 100 else f"{value:.2f}"
        state = "met" if is_met else "not met"
        print(f"{number:>3}  {what:<58} {shown:>7}   goal {sense} {goal:<5} {state:<8} {note}", flush=True)
        self.rows.append(f"| {number} | {what} | {shown} | {sense} {goal} | {state} | {note} |")

    def table(self):
        return [*HEAD, *self.rows]


class Report(Rows):
    """The table, and the curve with the measurements at its end."""

    def __init__(self):
        super().__init__()
        self.curve = None

    def write(self, introduction):
        """Replaces these rows, and the curve if it was measured, on the page; the rest of the page is kept."""
        if self.rows:
            put(TABLE, merged(introduction, self.rows))
        if self.curve:
            put(CURVE, [introduction, "", *self.curve.table(), "", *self.curve.end.table()])
            CHART.parent.mkdir(exist_ok=True)
            CHART.write_text(self.curve.chart())


def merged(introduction, rows):
    """Returns the lines of the table with these rows in the place of those of the same numbers. Rows of other numbers are
    kept with the introduction of their run."""
    measured = list(dict.fromkeys(number_of(row) for row in rows))
    head, tail = around(TABLE)
    lines = PAGE.read_text().removeprefix(head + TABLE[0]).removesuffix(TABLE[1] + tail).strip().splitlines()
    before = [line for line in lines if number_of(line)]
    kept = [row for row in before if number_of(row) not in measured]
    if not kept:
        return [introduction, "", *HEAD, *rows]
    order = list(dict.fromkeys([*map(number_of, before), *measured]))
    table = sorted([*kept, *rows], key=lambda row: order.index(number_of(row)))
    introductions = [line for line in lines if line and not line.startswith("|")]
    return [*introductions, "", f"Rows {', '.join(measured)} in a later run. {introduction}", "", *HEAD, *table]


def number_of(row):
    """Returns the number of a row of the table, such as 11 or G2; empty if the line is none."""
    match = re.match(r"\| ([A-Z]?[A-Z]?\d*) \|", row)
    return match[1] if match else ""


def put(marks, lines):
    """Replaces the text between two markers of the page; the rest of the page is kept."""
    head, tail = around(marks)
    begin, end = marks
    PAGE.write_text("\n".join([head + begin, *lines, end + tail]))


def around(marks):
    """Returns the page before and after the text between two markers."""
    begin, end = marks
    head, found, rest = PAGE.read_text().partition(begin)
    _, closed, tail = rest.partition(end)
    if not (found and closed):
        raise SystemExit(f"bench: {PAGE} has no place for this: the lines `{begin}` and `{end}` are missing")
    return head, tail
