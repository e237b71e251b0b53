"""`python -m tests.dashboards [FOLDER] [BOARD…]`: draws the dashboards over the exhibits, as pictures, and prints each panel."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from .exhibits import LOOKS, exhibition
from .scenes import BOARDS, gallery

SEEN_S = 85.0
WIDTHS = (1440, 800)


def main(words: list[str]) -> None:
    folder = Path(words[0]) if words else Path("docs/images/dashboards")
    names = words[1:] or sorted(path.stem for path in BOARDS.glob("*.json"))
    with tempfile.TemporaryDirectory() as scratch, exhibition(Path(scratch)) as (_, address), gallery(address) as shown:
        time.sleep(SEEN_S)  # so that lines fill their panels
        for name in names:
            for width in WIDTHS:
                report = shown.look(
                    name, width=width, picture=folder / f"{name}-{width}.png", since="now-90s", **LOOKS.get(name, {})
                )
            print(f"\n{report['title']}: {[(v['name'], v['value']) for v in report['variables']]}")
            for panel in report["panels"]:
                print(
                    f"  {panel['title'][:44]:44} {panel['type']:10} {panel['state']:6} frames {panel['frames']:2} rows {panel['rows']:5} finite {panel['finite']:5}  {panel['error'] or panel['latest']}"
                )


if __name__ == "__main__":
    main(sys.argv[1:])
