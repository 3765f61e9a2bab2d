"""The owner's report in a browser: it loads, its sliders move, nothing leaves it, and it fits a phone."""

import base64
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from albums import content, picture, smooth, write
from browser import as_wide_as, chromium, screenshot
from PIL import Image

from experiments.cli import main
from photos.check import ChainResult, CheckResult
from photos.compare import PART, WHOLE, compared
from photos.destination import REPORT
from photos.manifest import MANIFEST, entries
from photos.pages import duration
from photos.protector import Protector
from photos.report import renewed
from victims.chains import CHAINS

# the widths of all pictures, once they are decoded; or why one cannot be
LOADED = """
const done = arguments[0];
Promise.all([...document.images].map(one => (one.loading = "eager") && one.decode().then(() => one.naturalWidth)))
  .then(done, error => done(String(error)));
"""
# the least contrast (WCAG 2.2) of any text with what is behind it; pictures left out
CONTRAST = """
const parse = text => { const [r, g, b, a = 1] = text.match(/[\\d.]+/g).map(Number); return [r, g, b, a]; };
const light = ([r, g, b]) => { const [x, y, z] = [r, g, b].map(c => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  return 0.2126 * x + 0.7152 * y + 0.0722 * z; };
let least = 21;
for (const one of document.querySelectorAll("main *")) {
  if (![...one.childNodes].some(node => node.nodeType === 3 && node.textContent.trim()) || one.closest(".slider")) continue;
  let behind = one;
  while (behind && parse(getComputedStyle(behind).backgroundColor)[3] === 0) behind = behind.parentElement;
  const [a, b] = [light(parse(getComputedStyle(one).color)), light(parse(getComputedStyle(behind || document.body).backgroundColor))];
  least = Math.min(least, (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05));
}
return least;
"""
GRADES = ("protects", "weak", "none", "unknown")


def folder_with_report(generator: Path, tmp_path: Path) -> Path:
    """Photos of several kinds, one of them large, two left out; and what a check found."""
    source, out = tmp_path / "in", tmp_path / "out"
    write(source / "sea & <b>sun</b>.jpg", smooth(WHOLE, WHOLE + 200), quality=95)
    write(source / ("a long name without any blank " * 3).replace(" ", "_") / "portrait.png", smooth(90, 40))
    for number in range(6):
        write(source / f"{number}.png", picture(30 + number, 40))
    (source / "empty.png").write_bytes(b"")
    (source / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 nothing")
    assert main(["protect", str(source), str(out), f"generator={generator}", "shown=20"]) == 1
    return out


def checked(out: Path) -> None:
    names = ["as published", *CHAINS, "gray"]
    chains = [
        ChainResult(name, "steps in words", 0.9, 0.6, 0.1 + place / 20, GRADES[place % 4])
        for place, name in enumerate(names)
    ]
    found = CheckResult("", 100, ["a", "b"], 0.5, 64, "", chains)
    (out / REPORT).write_text(renewed((out / REPORT).read_text(), found))


def test_the_report_works_in_a_browser(generator: Path, tmp_path: Path) -> None:
    out = folder_with_report(generator, tmp_path)
    checked(out)
    with chromium(tmp_path) as page:
        page.get_log("performance")  # the browser's own first page
        page.get((out / REPORT).as_uri())
        assert page.title == page.execute_script("return document.querySelector('h1').textContent")
        found = page.execute_async_script(LOADED)
        assert isinstance(found, list), found
        assert len(found) > 12
        assert min(found) > 0
        for place, width in enumerate((1200, 390)):
            for dark in (True, False):
                as_wide_as(page, width, dark)
                assert page.execute_script("return document.documentElement.scrollWidth") == width
                assert page.execute_script(CONTRAST) >= 4.5
                screenshot(page, tmp_path / f"report-{width}{'-dark' if dark else ''}.png")
            sliders = page.find_elements("css selector", ".slider input")
            assert len(sliders) == 9, "eight photos and a part of the large one"
            for slider in sliders[place::4]:
                check_slider(page, slider)
        assert_alone(page, out / REPORT)


def check_slider(page: Any, slider: Any) -> None:
    """It is named, and moves by keyboard and by touch, and the copy's visible part with it."""
    line = "return getComputedStyle(arguments[0].parentElement.querySelector('.after')).clipPath"
    before = page.execute_script(line, slider)
    assert "50%" in before
    assert slider.accessible_name.startswith("Where your photo ends and the copy begins: ")
    slider.send_keys("\ue014" * 10)  # the right arrow
    assert slider.get_property("value") == "60"
    assert "60%" in page.execute_script(line, slider)
    assert "60 %" in slider.get_attribute("aria-valuetext")
    slider.send_keys("\ue011")  # Home
    assert "0px 0px 0%" in page.execute_script(line, slider)
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", slider)
    box = page.execute_script(
        "const {x, y, width, height} = arguments[0].getBoundingClientRect(); return [x, y, width, height]", slider
    )
    place = [{"x": box[0] + 0.8 * box[2], "y": box[1] + 0.5 * box[3]}]
    page.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": place})
    page.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    assert 70 <= int(slider.get_property("value")) <= 90


def assert_alone(page: Any, path: Path) -> None:
    """The browser asked for nothing but the file, and the page's policy had nothing to forbid."""
    resources = page.execute_script("return performance.getEntriesByType('resource').map(one => one.name)")
    assert all(name.startswith("data:") for name in resources)
    messages = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    sent = [one["params"] for one in messages if one["method"] == "Network.requestWillBeSent"]
    asked = [
        one["request"]["url"] for one in sent if not one["documentURL"].startswith("chrome:")
    ]  # its own first page
    assert {url for url in asked if not url.startswith("data:")} == {path.as_uri()}
    assert page.get_log("browser") == []
    policy = page.find_element("css selector", "meta[http-equiv=Content-Security-Policy]").get_attribute("content")
    assert "default-src 'none'" in policy
    assert "unsafe-inline" not in policy.partition("script-src")[2]
    refused = page.execute_async_script(
        "const done = arguments[0]; fetch('http://127.0.0.1:9/').then(() => done('sent'), () => done('refused'))"
    )
    assert refused == "refused"
    assert any("Content Security Policy" in entry["message"] for entry in page.get_log("browser"))


def test_names_cannot_break_out_of_the_report(generator: Path, tmp_path: Path) -> None:
    page = (folder_with_report(generator, tmp_path) / REPORT).read_text()
    assert "sea &amp; &lt;b&gt;sun&lt;/b&gt;.jpg" in page
    assert "<b>sun" not in page
    assert len(re.findall(r"<script>", page)) == 1
    assert not re.findall(r"""(?:src|href)=["'](?!data:image/webp;base64,|#)""", page)


def test_only_the_owner_can_read_a_report_with_photos(generator: Path, tmp_path: Path) -> None:
    write(tmp_path / "in" / "a.png", smooth())
    (tmp_path / "in" / "a.png").chmod(0o644)
    arguments = ["protect", str(tmp_path / "in"), str(tmp_path / "out"), f"generator={generator}"]
    report = tmp_path / "out" / REPORT
    assert main(arguments) == 0
    assert report.stat().st_mode & 0o777 == 0o600
    assert "Keep this page to yourself." in report.read_text()
    assert "It shows one of your photos unprotected" in report.read_text()
    assert main([*arguments, "shown=0"]) == 0
    assert report.stat().st_mode & 0o777 == 0o644
    assert "Keep this page" not in report.read_text()
    assert "Before:" not in report.read_text()
    assert main(arguments) == 0
    assert report.stat().st_mode & 0o777 == 0o600


def test_photos_are_shown_as_they_are(generator: Path, tmp_path: Path) -> None:
    """The pictures in the report are those of the files, pixel by pixel where nothing is shrunk."""
    source, out = tmp_path / "in", tmp_path / "out"
    write(source / "small.png", picture())
    sky = np.random.default_rng(0).integers(0, 256, (WHOLE + 100, WHOLE + 300, 3)).astype(np.uint8)
    sky[300:, 500:] = 200
    write(source / "large.png", Image.fromarray(sky))
    Protector.load(generator).protect_folder(source, out)
    found = {one.source: compared(one, source, out, 8) for one in entries(out / MANIFEST)}
    whole = found["small.png"].whole
    assert whole is not None
    assert found["small.png"].detail is None
    before, after = decoded_uri(whole.before), decoded_uri(whole.after)
    assert np.array_equal(before, np.asarray(Image.open(source / "small.png")))
    assert np.array_equal(after, np.asarray(Image.open(out / "small.png")))
    shown = np.float32(127.5) + (after.astype(np.float32) - before) * np.float32(127.5 / 8)
    assert np.abs(decoded_uri(whole.noise) - shown.clip(0, 255)).max() <= 1
    large = found["large.png"]
    assert large.whole is not None
    assert large.detail is not None
    assert (large.whole.width, large.whole.scale) == (WHOLE, pytest.approx(WHOLE / (WHOLE + 300)))
    part = decoded_uri(large.detail.before)
    assert part.shape == (PART, PART, 3)
    assert (part == 200).mean() > 0.95, "the smoothest part"


def decoded_uri(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGB")).astype(np.int64)


def test_a_photo_that_went_is_named_in_its_place(generator: Path, tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    write(source / "a.png", picture())
    Protector.load(generator).protect_folder(source, out)
    [entry] = entries(out / MANIFEST)
    (source / "a.png").unlink()
    assert "No such file" in compared(entry, source, out, 8).fault


def test_the_report_says_how_large_the_copies_are(generator: Path, tmp_path: Path) -> None:
    write(tmp_path / "in" / "a.jpg", smooth(300, 400), quality=95)
    Protector.load(generator).protect_folder(tmp_path / "in", tmp_path / "out")
    before, after = ((tmp_path / path).stat().st_size for path in ("in/a.jpg", "out/a.png"))
    page = (tmp_path / "out" / REPORT).read_text()
    assert f"{100 * after / before:.0f} % of that" in page
    assert f"<td>{before / 1e3:,.1f} kB</td>" in page
    assert "less than a minute" in page


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "less than a minute"),
        (29, "less than a minute"),
        (61, "1 minute"),
        (3600, "1 hour"),
        (7500, "2 hours 5 minutes"),
    ],
)
def test_durations_are_in_whole_minutes(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_the_light_is_that_of_the_weakest_chain_but_gray(tmp_path: Path) -> None:
    def found(*grades: Any) -> CheckResult:
        names = ("as published", "web", "gray")
        chains = [ChainResult(name, "", 1, None, None, one) for name, one in zip(names, grades, strict=True)]
        return CheckResult("", 1, [], 0.5, 64, "", chains)

    assert found("protects", "protects", "none").overall == "protects"
    assert found("protects", "weak", "protects").overall == "weak"
    assert found("none", "protects", "protects").overall == "none"
    assert found("protects", "unknown", "none").overall == "unknown"


def test_a_report_is_the_same_whenever_it_is_made(generator: Path, tmp_path: Path) -> None:
    out = folder_with_report(generator, tmp_path)
    before = content(out)
    assert main(["protect", str(tmp_path / "in"), str(out), f"generator={generator}", "shown=20"]) == 1
    assert content(out) == before
