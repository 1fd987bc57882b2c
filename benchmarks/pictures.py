"""Pictures of the pages for README, as Chromium shows them.

    python -m benchmarks.pictures REPORT COMPARISON

writes docs/images/report.png, the top of a report and its mistakes, and docs/images/compare.png, the top of a
comparison page. REPORT and COMPARISON are files like reports/run.html and reports/compare.html.
"""

import argparse
import shutil
import subprocess
import tempfile
from pathlib import Path

from PIL import Image, ImageChops

from src.errors import UserError
from src.runtime.run import run_command

IMAGES = Path("docs/images")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
WIDTH, TALL = 1120, 3000  # pixels; what is below the page is cut off
COLOURS = 256


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
        subprocess.run(
            [browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
             f"--window-size={WIDTH},{TALL}", f"--screenshot={shot}", shown.as_uri()],
            check=True, capture_output=True, timeout=120,
        )  # fmt: skip
        image = Image.open(shot).convert("RGB")
    page_only = ImageChops.difference(image, Image.new("RGB", image.size, image.getpixel((0, 0)))).getbbox()
    end = min(height, (page_only[3] if page_only else TALL) + 24)
    return image.crop((0, 0, WIDTH, end)).quantize(COLOURS)


def main() -> None:
    """Take both pictures."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.pictures", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("report", type=Path, metavar="REPORT")
    parser.add_argument("comparison", type=Path, metavar="COMPARISON")
    arguments = parser.parse_args()
    IMAGES.mkdir(parents=True, exist_ok=True)
    picture(arguments.report, ("mistakes",), 1400).save(IMAGES / "report.png", optimize=True)
    picture(arguments.comparison, ("groups", "differences", "curves"), 1400).save(IMAGES / "compare.png", optimize=True)


if __name__ == "__main__":
    run_command(main)
