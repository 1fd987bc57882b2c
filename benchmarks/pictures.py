"""Take pictures of a report and a comparison page, as Chromium shows them.

    python -m benchmarks.pictures reports/run.html reports/compare.html

writes docs/images/report.png and docs/images/compare.png.
"""

import argparse
import shutil
import subprocess
import tempfile
from pathlib import Path

from PIL import Image

from src.errors import UserError
from src.runtime.run import run_command

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
WIDTH = 1120  # pixels


def picture(page: Path, sections: tuple[str, ...], height: int) -> Image.Image:
    """The first `height` pixels of `page` (HTML) with only these sections. Raises UserError without a browser."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise UserError(f"none of {', '.join(BROWSERS)} is installed. Install the package chromium")
    kept = ", ".join(f"#{name}" for name in sections)
    style = f"<style>section:not({kept}), nav {{ display: none }}</style></head>"
    with tempfile.TemporaryDirectory() as folder:
        shown, shot = Path(folder, "page.html"), Path(folder, "shot.png")
        shown.write_text(page.read_text(encoding="utf-8").replace("</head>", style, 1), encoding="utf-8")
        options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--screenshot={shot}"]
        command = [browser, *options, f"--window-size={WIDTH},{height}", shown.as_uri()]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        return Image.open(shot).convert("RGB").quantize(256)


def main() -> None:
    """Take both pictures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pictures", description=__doc__)
    parser.add_argument("report", type=Path)
    parser.add_argument("comparison", type=Path)
    arguments = parser.parse_args()
    images = Path("docs/images")
    picture(arguments.report, ("mistakes",), 1400).save(images / "report.png", optimize=True)
    picture(arguments.comparison, ("groups", "differences", "curves"), 1400).save(images / "compare.png", optimize=True)


if __name__ == "__main__":
    run_command(main)
