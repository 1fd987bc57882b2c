"""Pictures of pages: the chosen sections, cut below the last of them."""

import shutil
from pathlib import Path

import pytest

from benchmarks.pictures import BROWSERS, WIDTH, picture
from src.errors import UserError

PAGE = """<html><head></head><body style="margin:0"><nav>links</nav>
<section id="a" style="height:200px;background:#ff0000"></section>
<section id="b" style="height:100px;background:#0000ff"></section>
</body></html>"""


@pytest.mark.skipif(not any(map(shutil.which, BROWSERS)), reason="no Chromium to open pages with")
def test_only_the_chosen_sections_are_shown(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text(PAGE, encoding="utf-8")
    blue = picture(page, ("b",), 500).convert("RGB")
    assert blue.getpixel((0, 0)) == (0, 0, 255)
    assert (255, 0, 0) not in {colour for _, colour in blue.getcolors() or []}
    both = picture(page, ("a", "b"), 250).convert("RGB")
    assert both.size == (WIDTH, 250)
    assert both.getpixel((0, 0)) == (255, 0, 0)


def test_without_a_browser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="chromium"):
        picture(tmp_path / "page.html", ("a",), 100)
