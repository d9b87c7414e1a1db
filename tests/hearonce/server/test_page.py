"""The search page in a real browser, over a running server."""

import os
import shutil
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest
from media_samples import write_media

from stages.command_line import main

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")

DROP = """
async ([name, bytes]) => {
  const data = new DataTransfer();
  data.items.add(new File([new Uint8Array(bytes)], name));
  for (const type of ["dragenter", "dragover", "drop"]) {
    document.dispatchEvent(new DragEvent(type, { dataTransfer: data, bubbles: true, cancelable: true }));
  }
}
"""
DOT = """
() => {
  const canvas = document.querySelector("#map-canvas");
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  const box = canvas.getBoundingClientRect();
  const pixel = data.findIndex((value, place) => place % 4 === 3 && value > 100) >> 2;
  return [box.left + (pixel % canvas.width) / devicePixelRatio, box.top + pixel / canvas.width / devicePixelRatio + 2];
}
"""
FILM = (
    ("init", "film", "--window", "4", "--hop", "2"),
    ("ingest", "film"),
    ("extract-audio", "film"),
    ("embed", "film", "yamnet-minilm", "--device", "cpu"),
)
PLAYED = "(source) => document.querySelector('.card video')?.currentSrc.includes(source)"
PATIENCE_S = 60
CURRENT = "() => document.activeElement?.dataset?.clip"


@pytest.fixture(scope="module")
def browser():
    options = [
        "--autoplay-policy=no-user-gesture-required", "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream", *(["--no-sandbox"] if os.geteuid() == 0 else []),
    ]  # fmt: skip
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=CHROMIUM, args=options)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def server(made_demo, serve, tmp_path_factory):
    """Serves the demo, and windows of two files, one of them in codecs that browsers do not play."""
    root = tmp_path_factory.mktemp("served") / "project"
    shutil.copytree(made_demo, root)
    media = root / "film"
    media.mkdir()
    samples = [decoded(root / f"configs/corpora/demo/media/{name}.mp4") for name in ("owl", "frogs")]
    frames = [np.full((96, 128, 3), number, np.uint8) for number in range(140)]
    write_media(media / "old.avi", samples=np.concatenate(samples), sample_rate=16000, frames=frames, rate=10)
    write_media(media / "talk.wav", samples=samples[1], sample_rate=16000)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        for command in FILM:
            patch.setattr(sys, "argv", ["hearonce", *command])
            with pytest.raises(SystemExit) as left:
                main()
            assert not left.value.code, command
    running = serve(root)
    yield running
    output = running.close()
    assert "Traceback" not in output, output[-3000:]


def decoded(path: Path) -> np.ndarray:
    resampler = av.AudioResampler("flt", "mono", 16000)
    with av.open(str(path)) as container:
        parts = [part for frame in container.decode(audio=0) for part in resampler.resample(frame)]
    return np.concatenate([part.to_ndarray()[0] for part in parts])[:, None]


@pytest.fixture
def page(browser, server):
    """A page whose console stays without errors."""
    context = browser.new_context(viewport={"width": 1280, "height": 860}, permissions=["microphone"])
    page = context.new_page()
    page.set_default_timeout(60_000)
    errors: list[str] = []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(server.address)
    page.wait_for_selector("body[data-ready]")
    page.errors = errors
    yield page
    assert not page.errors, page.errors
    context.close()


def until(page, condition, argument=None):
    """Waits for a condition in JavaScript; Playwright's own way evaluates strings, which the page's policy forbids."""
    end = time.monotonic() + PATIENCE_S
    while not page.evaluate(condition, argument):
        assert time.monotonic() < end, (condition, page.inner_text("#status"), page.inner_text("#error"))
        time.sleep(0.05)


def searched(page, text):
    page.keyboard.press("/")
    page.keyboard.type(text)
    page.keyboard.press("Enter")
    until(page, "text => document.querySelector('#status').textContent.includes('best first')", text)
    return clips(page)


def clips(page, column="#left"):
    return page.eval_on_selector_all(f"{column} .card", "cards => cards.map((card) => card.dataset.clip)")


def test_type_play_and_more_like_this(page):
    assert "58 clips" in page.inner_text("#empty")
    found = searched(page, "dogs bark")
    assert found[0] == "dogs-barking.mp4" and len(found) >= 48 and "q=dogs+bark" in page.url
    until(page, "document.querySelector('.card img')?.naturalWidth > 0")
    page.locator(".card").first.focus()
    page.keyboard.press("Escape")
    page.keyboard.press("ArrowRight")
    assert page.evaluate(CURRENT) == found[0] or page.evaluate(CURRENT) == found[1]
    page.locator(".card").first.focus()
    page.keyboard.press("Space")
    until(page, "document.querySelector('.card video')?.currentTime > 0.2")
    assert page.evaluate("document.querySelector('.card video').videoWidth") > 0
    page.keyboard.press("t")
    link = page.locator(".card .download").first.get_attribute("href")
    assert "start=0&stop=6" in link
    with page.expect_download() as downloading:
        page.locator(".card .download").first.click()
    assert downloading.value.suggested_filename == "dogs-barking-0-6.mp4"

    page.locator(".card").nth(1).focus()
    page.keyboard.press("Enter")
    until(page, "document.querySelector('#query-text').textContent.includes('Clips like')")
    until(page, "clip => !document.querySelector(`.card[data-clip='${clip}']`)", found[1])
    assert page.locator("#query").is_visible() and page.evaluate(CURRENT) == clips(page)[0]
    page.go_back()
    until(page, "clip => !!document.querySelector(`.card[data-clip='${clip}']`)", found[1])
    assert clips(page) == found and page.input_value("#q") == "dogs bark" and "dogs bark" in page.title()


def test_filters_pages_and_a_shared_address(page, server):
    found = searched(page, "an animal")
    page.locator(".card").last.scroll_into_view_if_needed()
    until(page, "document.querySelectorAll('.card').length === 58")
    assert len(set(clips(page))) == 58 and clips(page)[: len(found)] == found
    page.select_option("#subset", "scenes")
    until(page, "document.querySelectorAll('.card').length < 40 && !!document.querySelector('.card')")
    before = len(clips(page))
    page.fill("#where", "duration_s < 3")
    page.locator("#where").blur()
    until(page, "n => !!document.querySelector('.card') && document.querySelectorAll('.card').length < n", before)
    few = clips(page)
    other = page.context.new_page()
    other.goto(page.url)
    other.wait_for_selector(".card")
    assert clips(other) == few and other.input_value("#where") == "duration_s < 3"
    other.close()
    page.fill("#where", "lenght < 3")
    page.locator("#where").blur()
    until(page, "document.querySelector('#error').textContent.includes('cannot be understood')")
    page.errors.clear()  # the browser logs the refused request
    page.fill("#where", "duration_s < 0")
    page.locator("#where").blur()
    page.wait_for_selector("#empty h2:has-text('No clip')")


def test_windows_of_a_file_are_chips_played_by_previews_and_trimmed(page, server):
    page.goto(f"{server.address}?corpus=film&q=an+owl+hoots")
    card = page.locator(".card", has_text="old.avi").first
    card.locator(".moment").nth(1).click()
    chip = card.locator(".moment").nth(1).get_attribute("title")
    until(page, PLAYED, "/preview?")
    until(page, "document.querySelector('.card video')?.videoWidth > 0")
    first, last = (float(part.removeprefix("0:")) for part in chip.split(",")[0].split("–"))
    assert last - first == 4 and page.evaluate(PLAYED, f"old.avi%40{first:g}-{last:g}")
    card.focus()
    page.keyboard.press("t")
    handle = card.locator(".timeline input").last
    until(page, "() => document.querySelector('.timeline img')?.naturalWidth > 0")
    least, most, value = (float(handle.get_attribute(name)) for name in ("min", "max", "value"))
    box = card.locator(".timeline").bounding_box()
    x, y = box["x"] + box["width"] * (value - least) / (most - least), box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x - 30, y, steps=3)
    page.mouse.up()
    stop = float(handle.input_value())
    assert value - 30 / box["width"] * (most - least) == pytest.approx(stop, abs=0.1) and stop < value
    until(page, PLAYED, "/cut?")
    with page.expect_download() as downloading:
        card.locator(".download").click()
    with av.open(str(downloading.value.path())) as cut:
        assert float(cut.duration) / av.time_base == pytest.approx(
            stop - float(card.locator(".timeline input").first.input_value()), abs=0.15
        )

    talk = page.locator(".card", has_text="talk.wav").first
    assert "kind=waveform" in talk.locator(".cover img").get_attribute("src")
    talk.locator(".play").click()
    until(page, PLAYED, "/media?")
    playing = "document.querySelector('.card video')"
    start, stop = map(float, page.evaluate(f"{playing}.currentSrc.split('#t=')[1].split(',')"))
    until(page, f"{playing}.currentTime > {start}")
    page.evaluate(f"{playing}.currentTime = {stop - 0.5}")
    until(page, f"{playing}.paused")
    assert page.evaluate(f"{playing}.currentTime") <= stop + 0.1
    page.uncheck("#group")
    until(page, "document.querySelector('#status').textContent.startsWith('9 results')")
    assert page.locator(".moment").count() == 0


def test_two_encoders_side_by_side(page):
    searched(page, "a bird sings")
    page.select_option("#encoder2", "efficientnet-minilm")
    page.wait_for_selector("#right .card")
    assert sorted(clips(page)[:5]) != sorted(clips(page, "#right")[:5])
    assert page.locator("#right h2").inner_text() == "efficientnet-minilm"
    left, right = clips(page), clips(page, "#right")
    both = next(clip for clip in left if clip in right)
    until(page, "() => document.querySelectorAll('.beside').length === document.querySelectorAll('.card').length")
    said = page.locator("#left .card").nth(left.index(both)).locator(".beside").inner_text()
    assert said == f"beside: {right.index(both) + 1}"
    page.locator("#left .card").nth(1).focus()
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.closest('#right') !== null")
    page.select_option("#encoder2", "")
    page.select_option("#encoder", label="fused: efficientnet-minilm + yamnet-minilm")
    until(page, "document.querySelector('#status').textContent.includes('efficientnet-minilm and yamnet-minilm')")
    assert page.locator(".beside").count() == 0 and clips(page) not in (left, right)


def test_a_dropped_file_and_a_recording_are_queries(page, server):
    raw = (server.root / "configs/corpora/demo/media/owl.mp4").read_bytes()
    page.evaluate(DROP, ["owl copy.mp4", list(raw)])
    page.wait_for_selector(".card")
    assert clips(page)[0] == "owl.mp4" and "owl copy.mp4" in page.inner_text("#query-text")
    page.evaluate(DROP, ["list.m3u8", list(b"#EXTM3U\nfile:///etc/passwd\n")])
    until(page, "document.querySelector('#error').textContent.includes('a playlist')")
    page.errors.clear()
    page.click("#record")
    page.wait_for_selector("#record[aria-pressed=true]")
    page.wait_for_timeout(1500)
    page.click("#record")
    until(page, "document.querySelector('#query-text').textContent.includes('recording')")
    until(page, "document.querySelector('#status').textContent.includes('best first')")
    assert len(clips(page)) >= 48


def test_a_map_is_selected_from_and_saved(page, server):
    page.keyboard.press("m")
    until(page, "document.querySelector('#map-text').textContent.startsWith('58 clips')")
    box = page.locator("#map-canvas").bounding_box()
    width, height = box["width"], box["height"]
    corners = ((2, 2), (width / 2, 2), (width / 2, height - 2), (2, height - 2))
    places = [(box["x"] + x, box["y"] + y) for x, y in corners]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in [*places[1:], places[0]]:
        page.mouse.move(*place, steps=4)
    page.mouse.up()
    page.wait_for_selector("#map-save:not([disabled])")
    number = int(page.inner_text("#map-text").split("·")[1].split()[0])
    assert 0 < number < 58
    page.mouse.move(*page.evaluate(DOT))
    page.wait_for_selector("#map-card video")
    page.mouse.down()
    page.mouse.up()
    page.wait_for_selector("#map-card.pinned button")
    page.mouse.move(*places[0])
    assert page.locator("#map-card").is_visible()
    page.keyboard.press("Escape")
    assert page.locator("#map-card").is_hidden()
    page.click("#map-save")
    page.fill("#save-name", "left-half")
    page.keyboard.press("Enter")
    until(page, "document.querySelector('#status').textContent.includes('left-half.yaml')")
    lines = (server.root / "configs/subsets/demo/left-half.yaml").read_text().splitlines()
    assert len([line for line in lines if line.startswith("- ")]) == number

    searched(page, "rain")
    page.click("#save-button")
    page.fill("#save-name", "left-half")
    page.fill("#save-count", "5")
    page.keyboard.press("Enter")
    until(page, "document.querySelector('#save-error').textContent.includes('There is a subset')")
    page.errors.clear()
    page.fill("#save-name", "wet")
    page.keyboard.press("Enter")
    until(page, "document.querySelector('#status').textContent.includes('Saved 5 clips')")
    page.wait_for_selector("#subset option[value=wet]", state="attached")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_accessible_also_on_a_phone(browser, server, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    context = browser.new_context(viewport={"width": 390, "height": 800}, color_scheme=scheme, bypass_csp=True)
    page = context.new_page()
    page.goto(f"{server.address}?corpus=demo&q=dogs+bark&encoder2=efficientnet-minilm&map=1")
    page.wait_for_selector("#right .card")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.locator("#subset").is_hidden()
    page.click("#options-button")
    assert page.locator("#subset").is_visible()
    page.locator("#left .trimmer").first.click()
    page.wait_for_selector(".timeline")
    page.keyboard.press("?")
    for state in ("help", "page"):
        found = axe.Axe().run(page).response["violations"]
        assert not [one["id"] for one in found if one["impact"] in ("serious", "critical")], (state, found)
        page.keyboard.press("Escape")
    context.close()


def test_nothing_in_a_caption_becomes_html(page):
    made = page.evaluate(
        """async () => {
          const { Column } = await import("/static/results.js");
          const column = new Column(document.querySelector("#left"), { similar() {} });
          const result = { rank: 1, clip_id: "<img src=x onerror=alert(1)>", score: 1, score_embedding: 1,
            score_words: null, file: "<b>x</b>", start_s: 0, stop_s: 1,
            captions: ["<script>alert(1)</script>"], subsets: ["<i>s</i>"],
            has_audio: true, has_video: false, missing: true, moments: [] };
          column.grid = document.createElement("div");
          column.end = document.createElement("div");
          column.root.append(column.grid);
          column.add({ corpus: "demo", results: [result] });
          return [column.root.querySelectorAll("script, b, i, img").length, column.root.textContent];
        }"""
    )
    assert made[0] == 0 and "<script>alert(1)</script>" in made[1] and "File not found" in made[1]
