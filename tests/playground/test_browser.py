"""The page in a real browser, with the bundled model: what a person does, and what they then see."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from ragturbo_sdk import read_metadata
from tests.playground.conftest import Running, playground

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
OPTIONS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage --window-size=1280,1100"
)
PATIENCE = 60  # seconds, on a machine that trains beside the tests
NASTY = "my mug <b>${1 + 1}</b> {{value}}"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        CHROMIUM is None or DRIVER is None,
        reason="no chromium with its driver: apt-get install chromium chromium-driver",
    ),
]


class Page:
    """The page as a person uses it."""

    def __init__(self, browser: webdriver.Chrome, folder: Path) -> None:
        self.browser, self._folder = browser, folder

    def find(self, selector: str) -> WebElement:
        """What a selector finds, once it is there."""
        return self.until(lambda: self.browser.find_element(By.CSS_SELECTOR, selector))

    def until(self, done: Callable[[], Any]) -> Any:
        """Wait for something to be so, or to exist."""
        return WebDriverWait(self.browser, PATIENCE).until(lambda _: done())

    def type(self, selector: str, *words: str) -> None:
        """Replace what stands in a field."""
        self.find(selector).send_keys(Keys.CONTROL, "a")
        self.find(selector).send_keys(Keys.DELETE, *words)

    def source(self, name: str) -> str:
        """A picture's data; empty before there is one."""
        found = self.browser.find_elements(By.ID, f"rt-{name}")
        return str(found[0].get_attribute("src")) if found else ""

    def draw(self, prompt: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """Draw, and read off both pictures how they were made."""
        before = self.source("retrieved")
        self.type("#rt-prompt textarea", prompt)
        self.find("#rt-draw").click()
        self.until(lambda: self.source("retrieved") not in ("", before))
        return self.metadata("without"), self.metadata("retrieved")

    def metadata(self, name: str) -> dict[str, Any]:
        """How a picture was made."""
        return read_metadata(self.file(name))

    def file(self, name: str) -> Path:
        """A picture, saved as the browser has it."""
        path = self._folder / f"{name}.png"
        path.write_bytes(base64.b64decode(self.source(name).partition(",")[2]))
        return path

    def captions(self) -> list[str]:
        """Of the references that are shown."""
        return [card.text for card in self.browser.find_elements(By.CSS_SELECTOR, ".rt-caption")]

    def message(self, words: str) -> None:
        """Wait for a message of the page, and put it away."""
        self.until(lambda: words in self.find(".toast-wrap").text)
        self.find(".toast-close").click()

    def hosts(self) -> set[str]:
        """Every host that the browser asked since this was called last."""
        events = [json.loads(entry["message"])["message"] for entry in self.browser.get_log("performance")]
        asked = [
            str(event["params"].get("request", event["params"])["url"])
            for event in events
            if event["method"] in ("Network.requestWillBeSent", "Network.webSocketCreated")
        ]
        return {
            str(urlsplit(url).hostname)
            for url in asked
            if urlsplit(url).scheme in ("http", "https", "ws", "wss")
        }


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with playground(tmp_path_factory.mktemp("playground")) as started:
        yield started


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    assert CHROMIUM
    options = webdriver.ChromeOptions()
    for word in [*OPTIONS.split(), f"--user-data-dir={tmp_path_factory.mktemp('profile')}"]:
        options.add_argument(word)
    options.binary_location = CHROMIUM
    options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def page(browser: webdriver.Chrome, running: Running, tmp_path: Path) -> Page:
    """Freshly loaded."""
    browser.get(running.url)
    opened = Page(browser, tmp_path)
    opened.find("#rt-draw")
    return opened


def test_a_prompt_is_drawn_without_and_with_retrieval(page: Page, running: Running) -> None:
    page.type("#rt-seed input", "11")
    page.find("#rt-strength input[type=range]").send_keys(Keys.END)
    without, retrieved = page.draw("a red apple")
    assert without["references"] == []
    assert (without["seed"], retrieved["seed"], retrieved["strength"]) == (11, 11, 2.0)
    assert retrieved["prompt"] == "a red apple"
    with Image.open(page.file("without")) as one, Image.open(page.file("retrieved")) as other:
        assert one.tobytes() != other.tobytes()
    assert page.captions() == [reference["caption"] for reference in retrieved["references"]]
    assert len(page.captions()) == 4
    assert page.find("#rt-pictures").text.count(" ms, seed 11") == 2
    rows = {row.text.rsplit(" ", 2)[0]: row.text for row in page.browser.find_elements(By.CSS_SELECTOR, "tr")}
    assert {"text encoder", "adapter", "vae decoder", "total"} <= set(rows)
    assert page.hosts() == {"127.0.0.1"}
    assert running.asked() == {"127.0.0.1"}


def test_no_references_no_cards(page: Page) -> None:
    page.find("#rt-count input[type=range]").send_keys(Keys.HOME)
    without, retrieved = page.draw("a red apple")
    assert without["references"] == retrieved["references"] == page.captions() == []


def test_a_picture_of_ones_own_is_used(page: Page, tmp_path: Path) -> None:
    Image.effect_mandelbrot((90, 60), (-3, -2.5, 2, 2.5), 50).save(tmp_path / "mug.png")
    _, before = page.draw(NASTY)
    page.find("#rt-file input[type=file]").send_keys(str(tmp_path / "mug.png"))
    page.until(lambda: "mug" in page.find("#rt-file").text)
    page.type("#rt-own-caption textarea", NASTY)
    page.find("#rt-add").click()
    page.message(f"Prompts can now find “{NASTY}”.")
    page.until(lambda: "2,049 captioned pictures" in page.find(".rt-header").text)
    page.type("#rt-seed input", "12")
    _, after = page.draw(NASTY)
    assert NASTY not in [reference["caption"] for reference in before["references"]]
    assert after["references"][0]["caption"] == NASTY
    assert after["references"][0]["similarity"] == pytest.approx(1, abs=0.01)
    assert page.captions()[0] == f"{NASTY} yours"
    assert "gone when the playground ends" in page.find("#rt-library").text


def test_what_is_wrong_is_said_in_a_message(page: Page, tmp_path: Path) -> None:
    page.type("#rt-prompt textarea", "")
    page.find("#rt-draw").click()
    page.message("prompt is ''")
    assert page.source("retrieved") == ""
    page.find("#rt-add").click()
    page.message("no picture was chosen")
    (tmp_path / "false.png").write_bytes(b"no picture")
    page.find("#rt-file input[type=file]").send_keys(str(tmp_path / "false.png"))
    page.until(lambda: "false" in page.find("#rt-file").text)
    page.type("#rt-own-caption textarea", "nothing")
    page.find("#rt-add").click()
    page.message("image: not a picture that can be read")
    page.draw(" ".join(f"word{number}" for number in range(100)))
    page.message("these words were cut: 'word28'")
    assert page.hosts() == {"127.0.0.1"}
