"""The sliders in a second browser, Firefox, driven by the protocol that it speaks itself (WebDriver BiDi)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import browser as browser_tool
import shown
from conftest import LIMIT_S

SCRIPT = Path(__file__).with_name("firefox.mjs")


def test_sliders_move_the_picture_in_firefox_too(site: str) -> None:
    command = [str(Path(sys.executable).parent / "node"), str(SCRIPT), browser_tool.find("firefox")]
    done = subprocess.run(
        [*command, str(1000 * LIMIT_S), *(f"{site}/{name}" for name in shown.PAGES)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    pages = json.loads(done.stdout)
    assert [page["address"] for page in pages] == [f"{site}/{name}" for name in shown.PAGES]
    for page in pages:
        assert page["troubles"] == [], page["address"]
        assert page["foreign"] == [], page["address"]
        assert page["sliders"], f"no sliders on {page['address']}"
        for slider in page["sliders"]:
            assert slider["moved"], f"{slider['name']} left the picture as it was on {page['address']}"
            assert len(slider["name"] or "") > 5, "a slider without a name"
