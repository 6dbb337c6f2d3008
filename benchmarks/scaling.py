#!/usr/bin/env python3
"""Draws how the tiers scaled under load, and tells it in a table, from what the test of it has measured.

    make test ONLY=kubernetes-load && benchmarks/scaling.py

The plot is files/readme/scaling.svg.
"""

import json
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TIERS = {"django": ("gunicorn", "#2f6f4f"), "nginx": ("nginx", "#b4561f")}
WIDTH, LEFT, RIGHT = 860, 50, 20
PANELS = [(40, 130), (210, 90), (340, 90)]  # where each begins, and how high it is
STYLE = "text{font:12px sans-serif;fill:#444}path{fill:none;stroke-width:2}.axis{stroke:#bbb;stroke-width:1}"


def figures(samples, tier, start, end):
    """Return in seconds and pods what became of a tier under a load from `start` to `end`."""
    during = [(sample["time"] - start, *sample[tier]) for sample in samples if start <= sample["time"] <= end]
    few, steady = during[0][1], during[-1][1]
    changing = [counts != [steady, steady] for _, *counts in during]
    return {
        "serves": next(when for when, _, ready in during if ready > few),
        "steady": during[len(changing) - changing[::-1].index(True)][0],
        "pods": steady,
        "overshoot": max(wanted for _, wanted, _ in during) - steady,
        "back": next(sample["time"] for sample in samples if sample["time"] > end and sample[tier] == [few, few]) - end,
    }


def table(data):
    """Return a line for each tier."""
    lines = ["| load on | first added pod serves after | steady after | pods | overshoot | back after |", "|" + " --- |" * 6]
    for tier, (title, _) in TIERS.items():
        told = figures(data["samples"], tier, *data["spans"][tier])
        told |= {name: f"{told[name]:.0f} s" for name in ("serves", "steady", "back")}
        lines.append("| " + " | ".join([title, *map(str, told.values())]) + " |")
    return "\n".join(lines)


def steps(points, x, y):
    """Return the path of a line that stays the same until it changes."""
    return "M" + "".join(f"H{x(when):.1f}V{y(count):.1f}" for when, count in points)[1:].replace("V", ",", 1)


def draw(data):
    """Return the plot: pods, and the requests of each load, over time."""
    samples, start = data["samples"], data["samples"][0]["time"]
    length = samples[-1]["time"] - start
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} 470"><style>{STYLE}</style>']
    parts.append('<rect width="100%" height="100%" fill="#fff"/>')

    def x(when):
        return LEFT + (when - start) / length * (WIDTH - LEFT - RIGHT)

    def panel(number, title, most):
        top, height = PANELS[number]
        for count in (0, most):
            line = top + height - count / most * height
            parts.append(f'<path class="axis" d="M{LEFT},{line}H{WIDTH - RIGHT}"/>')
            parts.append(f'<text x="{LEFT - 6}" y="{line + 4}" text-anchor="end">{count}</text>')
        parts.append(f'<text x="{LEFT}" y="{top - 12}">{title}</text>')
        return lambda count: top + height - count / most * height

    y = panel(0, "Pods: wanted (thin) and ready", max(sample[tier][0] for sample in samples for tier in TIERS))
    for tier, (_, colour) in TIERS.items():
        for number, style in enumerate(["stroke-width:1;stroke-dasharray:3", ""]):
            points = [(sample["time"], sample[tier][number]) for sample in samples]
            parts.append(f'<path stroke="{colour}" style="{style}" d="{steps(points, x, y)}"/>')
    for number, (tier, (title, colour)) in enumerate(TIERS.items(), 1):
        counts = sorted((int(second), count) for second, count in data["requests"][tier].items())
        y = panel(number, f"Requests a second that {title} has to answer by itself", max(count for _, count in counts))
        line = "L".join(f"{x(second):.1f},{y(count):.1f}" for second, count in counts[1:-1])
        parts.append(f'<path stroke="{colour}" d="M{line}"/>')
    for second in range(0, int(length), 30):
        parts.append(f'<text x="{x(start + second):.0f}" y="455" text-anchor="middle">{second} s</text>')
    for number, (title, colour) in enumerate(TIERS.values()):
        parts.append(
            f'<text x="{WIDTH - RIGHT - 140 + 80 * number}" y="20" style="fill:{colour};font-weight:bold">{title}</text>'
        )
    return "\n".join([*parts, "</svg>\n"])


def main():
    """Print the table and write the plot."""
    data = json.loads((ROOT / ".artifacts/load.json").read_text())["scaling"]
    print(table(data))
    (ROOT / "files/readme/scaling.svg").write_text(draw(data))


if __name__ == "__main__":
    main()
