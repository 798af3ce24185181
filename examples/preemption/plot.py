"""Draw the losses that came back: `python3 plot.py results/out/losses.csv losses.svg`."""

import sys
from pathlib import Path

WIDTH, HEIGHT = 600, 300


def main(source: str, target: str) -> None:
    rows = [line.split(",") for line in Path(source).read_text().split()]
    points = [(int(epoch), float(loss)) for epoch, loss in rows]
    last, largest = points[-1][0], max(loss for _, loss in points)
    line = " ".join(f"{WIDTH * x / last:.1f},{HEIGHT * (1 - y / largest):.1f}" for x, y in points)
    Path(target).write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-10 -10 {WIDTH + 20} {HEIGHT + 40}">'
        f'<polyline points="{line}" fill="none" stroke="black"/>'
        f'<text x="0" y="{HEIGHT + 20}">loss over {last} epochs, {largest:.2f} at most</text></svg>\n'
    )
    print(f"{len(points)} epochs in {target}")


if __name__ == "__main__":
    main(*sys.argv[1:3])
