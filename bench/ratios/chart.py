"""A small line chart as SVG: a logarithmic axis across, ratios upwards, each line named where it ends."""
import html
import math

WIDTH, HEIGHT = 800, 420
LEFT, RIGHT, TOP, BOTTOM = 56, 600, 84, 360
LABEL_GAP = 17
TICK_STEPS = (0.1, 0.2, 0.25, 0.5, 1, 2, 5, 10, 20, 50)
# Four line colours each, with enough contrast on white and on black.
LIGHT = ("#2a6fc9", "#157f57", "#b05a10", "#7648c0")
DARK = ("#6aaef8", "#4cc38f", "#eba05f", "#b79bf5")


def lines(title, subtitle, across, series):
    """Returns the SVG. `series` has points `(x, ratio)` under each name. A ratio of one is a dashed line."""
    place = Scale(series)
    described = "; ".join(f"{name}: " + ", ".join(f"{ratio:.2f} at {x:,}" for x, ratio in points)
                          for name, points in series.items())
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        'aria-labelledby="title desc" font-family="system-ui, sans-serif" font-size="13">',
        f'<title id="title">{html.escape(title)}</title>',
        f'<desc id="desc">{html.escape(subtitle)}. {html.escape(described)}.</desc>',
        f"<style>{style(len(series))}</style>",
        # A background of its own: the page may have another colour scheme than the reader.
        f'<rect width="{WIDTH}" height="{HEIGHT}" rx="8" class="ground"/>',
        text(LEFT - 36, 28, title, "strong"),
        text(LEFT - 36, 50, subtitle, "faint"),
        *axes(place, across),
        *(line(place, number, points) for number, points in enumerate(series.values())),
        *labels(place, series),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


class Scale:
    """Returns the coordinates of a point. The vertical axis begins at 0, so that half the height is half the speed."""

    def __init__(self, series):
        found = [point for points in series.values() for point in points]
        self.across = sorted({x for x, _ in found})
        most = max(ratio for _, ratio in found)
        self.step = next(step for step in TICK_STEPS if most / step < 7)
        self.top = self.step * math.ceil(max(most, 1) / self.step + 0.01)

    def x(self, value):
        first, last = math.log10(self.across[0]), math.log10(self.across[-1])
        share = (math.log10(value) - first) / (last - first) if last > first else 1
        return LEFT + share * (RIGHT - LEFT)

    def y(self, ratio):
        return BOTTOM - ratio / self.top * (BOTTOM - TOP)

    def ticks(self):
        return [number * self.step for number in range(round(self.top / self.step) + 1)]


def style(count):
    def coloured(palette):
        return "".join(f".line{number}{{stroke:{palette[number]};fill:{palette[number]}}}" for number in range(count))

    return (".ground{fill:#fff}text{fill:#1f2328}.faint{fill:#59636e}.strong{font-size:17px;font-weight:600}"
            ".grid{stroke:#d1d9e0}.one{stroke:#59636e;stroke-dasharray:5 4}polyline.line{fill:none;stroke-width:2}"
            f"{coloured(LIGHT)}@media(prefers-color-scheme:dark){{.ground{{fill:#0d1117}}text{{fill:#f0f6fc}}"
            f".faint{{fill:#9198a1}}.grid{{stroke:#3d444d}}.one{{stroke:#9198a1}}{coloured(DARK)}}}")


def text(x, y, words, kind="", anchor="start"):
    chosen = f' class="{kind}"' * bool(kind) + f' text-anchor="{anchor}"' * (anchor != "start")
    return f'<text x="{x:.0f}" y="{y:.0f}"{chosen}>{html.escape(words)}</text>'


def axes(place, across):
    for tick in place.ticks():
        y = place.y(tick)
        yield f'<line x1="{LEFT}" x2="{RIGHT}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>'
        yield text(LEFT - 8, y + 4, f"{tick:.2f}".rstrip("0").rstrip("."), "faint", "end")
    one = place.y(1)
    yield f'<line x1="{LEFT}" x2="{RIGHT}" y1="{one:.1f}" y2="{one:.1f}" class="one"/>'
    for value in place.across:
        x = place.x(value)
        yield f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{BOTTOM}" y2="{BOTTOM + 5}" class="grid"/>'
        yield text(x, BOTTOM + 21, f"{value:,}", "faint", "middle")
    yield text((LEFT + RIGHT) / 2, BOTTOM + 44, across, "faint", "middle")


def line(place, number, points):
    found = [(place.x(x), place.y(ratio)) for x, ratio in points]
    corners = " ".join(f"{x:.1f},{y:.1f}" for x, y in found)
    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" class="line{number}"/>' for x, y in found)
    return f'<polyline points="{corners}" class="line line{number}"/>{dots}'


def labels(place, series):
    """Writes each line's name beside its end, moved apart where ends are close."""
    ends = sorted((place.y(points[-1][1]), number, name, points[-1][1])
                  for number, (name, points) in enumerate(series.items()))
    heights = apart([end[0] for end in ends])
    for (y, number, name, ratio), height in zip(ends, heights):
        yield (f'<path d="M{RIGHT + 6} {y:.1f}L{RIGHT + 20} {height:.1f}" class="line{number}"/>'
               + text(RIGHT + 25, height + 4, f"{name}: {ratio:.2f}"))


def apart(heights):
    """Returns the heights, downwards; those that are too close are moved apart, and none is below the axis."""
    placed = list(heights)
    for _ in range(100):
        for upper, lower in zip(range(len(placed)), range(1, len(placed))):
            overlap = max(0, placed[upper] + LABEL_GAP - placed[lower])
            placed[upper] -= overlap / 2
            placed[lower] += overlap / 2
    shift = max(0, placed[-1] - BOTTOM)
    return [height - shift for height in placed]
