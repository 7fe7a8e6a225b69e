"""A headless Chromium for tests of pages: the installed one, asked over the DevTools protocol.

    def test_page(browser: Browser) -> None:            # the fixture of tests/conftest.py
        page = browser.open("http://127.0.0.1:8000/", width=360, scheme="dark", language="ko")
        page.wait_for("document.querySelector('#state').textContent === 'healthy'")
        assert page.overflowing() == []                 # what sticks out of the window
        assert page.errors() == []                      # console errors, exceptions, failed loads, refusals of a policy
        assert page.requests() == ["http://127.0.0.1:8000/"]

``open`` takes ``file://`` addresses too, ``media="print"``, and a height. ``evaluate`` returns what JavaScript makes of
an expression, promises awaited; ``fill`` and ``click`` do what a person does; ``emulate`` changes size, colours and
medium of a page that is there; ``screenshot`` writes a PNG of the whole page. Everything ends with TimeoutError after a
bound. Below 600 pixels the window is a phone's: a page without a viewport meta element is 980 pixels wide there.

Why not playwright: its wheel brings 53 MB with a Node.js of its own to send what are a few JSON messages here.
The messages travel over two pipes (--remote-debugging-pipe), so there is no port, and no library either.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import selectors
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, Literal

SECONDS = 20.0
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-pipe",
)
# Chromium reads commands from descriptor 3 and writes to 4; subprocess can hand descriptors over, not renumber them.
RENUMBER = 'exec "$@" 3<&"$COMMANDS" 4>&"$ANSWERS" 2>/dev/null'

OVERFLOWING = """
[...document.querySelectorAll("body *")]
    .filter((element) => {
        const box = element.getBoundingClientRect();
        const inner = (ancestor) => ancestor && ancestor !== document.body &&
            (getComputedStyle(ancestor).overflowX !== "visible" || inner(ancestor.parentElement));
        return box.width && box.right > document.documentElement.clientWidth + 0.5 && !inner(element.parentElement);
    })
    .map((element) => element.outerHTML.slice(0, 120))
    .concat(document.documentElement.scrollWidth > document.documentElement.clientWidth ? ["the page scrolls"] : [])
"""

Scheme = Literal["light", "dark"]


class Browser:
    """A Chromium of its own, with a new profile; close it, or use it as a context manager."""

    def __init__(self, program: str) -> None:
        self.profile = tempfile.TemporaryDirectory(prefix="callytics-chromium-", ignore_cleanup_errors=True)
        commands, self._commands = os.pipe()
        self._answers, answers = os.pipe()
        self._process = subprocess.Popen(
            ["bash", "-c", RENUMBER, "bash", program, *FLAGS, f"--user-data-dir={self.profile.name}", "about:blank"],
            env=os.environ | {"COMMANDS": str(commands), "ANSWERS": str(answers), "HOME": self.profile.name},
            pass_fds=(commands, answers),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(commands)
        os.close(answers)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._answers, selectors.EVENT_READ)
        self._buffer = b""
        self._last = 0
        self._pages: dict[str, Page] = {}

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the browser and everything it started, and delete its profile."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(SECONDS)
        self._selector.close()
        os.close(self._commands)
        os.close(self._answers)
        self.profile.cleanup()

    def open(
        self,
        address: str,
        *,
        width: int = 1024,
        height: int = 768,
        scheme: Scheme = "light",
        media: str = "screen",
        language: str = "en",
    ) -> Page:
        """Return a new page, loaded; ``language`` is what it asks for by Accept-Language."""
        target = self.send("Target.createTarget", {"url": "about:blank"})["targetId"]
        session = self.send("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        page = self._pages[session] = Page(self, session)
        for domain in ("Page", "Runtime", "Log", "Network"):
            page.send(f"{domain}.enable")
        page.send("Emulation.setUserAgentOverride", {"userAgent": "tests", "acceptLanguage": language})
        page.emulate(width=width, height=height, scheme=scheme, media=media)
        page.go(address)
        return page

    def send(self, method: str, parameters: dict[str, Any] | None = None, session: str | None = None) -> dict[str, Any]:
        """Send a command and return its result; what happens meanwhile goes to the pages."""
        self._last += 1
        message: dict[str, Any] = {"id": self._last, "method": method, "params": parameters or {}}
        if session:
            message["sessionId"] = session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + SECONDS
        while True:
            answer = self.receive(deadline)
            if answer.get("id") == self._last:
                assert "error" not in answer, f"{method}: {answer['error']}"
                result: dict[str, Any] = answer["result"]
                return result

    def receive(self, deadline: float) -> dict[str, Any]:
        """Return the next message; one that belongs to a page has been given to it."""
        while b"\0" not in self._buffer:
            if not self._selector.select(max(0.0, deadline - time.monotonic())):
                raise TimeoutError("Chromium does not answer")
            received = os.read(self._answers, 1 << 20)
            assert received, "Chromium has ended"
            self._buffer += received
        line, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        page = self._pages.get(message.get("sessionId", ""))
        if page and "method" in message:
            page.note(message["method"], message["params"])
        return message


class Page:
    """One tab, and what it complained about."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser = browser
        self._session = session
        self._errors: list[str] = []
        self._requests: list[str] = []
        self._loaded = 0

    def send(self, method: str, parameters: dict[str, Any] | None = None) -> dict[str, Any]:
        """Send a command of the DevTools protocol to this page."""
        return self._browser.send(method, parameters, self._session)

    def go(self, address: str) -> None:
        """Load an address and wait until everything of it is there."""
        before = self._loaded
        failure = self.send("Page.navigate", {"url": address}).get("errorText")
        assert not failure, f"{address}: {failure}"
        deadline = time.monotonic() + SECONDS
        while self._loaded == before:
            self._browser.receive(deadline)

    def emulate(self, *, width: int = 1024, height: int = 768, scheme: Scheme = "light", media: str = "screen") -> None:
        """Change the window's size in CSS pixels, the colours the reader prefers, and the medium."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.send("Emulation.setDeviceMetricsOverride", size)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.send("Emulation.setEmulatedMedia", {"media": media, "features": features})

    def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression, as JSON knows it."""
        parameters = {"expression": expression, "returnByValue": True, "awaitPromise": True, "userGesture": True}
        answer = self.send("Runtime.evaluate", parameters)
        assert "exceptionDetails" not in answer, f"{expression}: {answer['exceptionDetails']}"
        return answer["result"].get("value")

    def wait_for(self, expression: str, seconds: float = SECONDS) -> None:
        """Return when an expression is true; raise TimeoutError, with what the page says, where it never is."""
        deadline = time.monotonic() + seconds
        while not self.evaluate(expression):
            if time.monotonic() > deadline:
                raise TimeoutError(f"not true after {seconds} s: {expression}\n{self.text()}")
            time.sleep(0.05)

    def text(self) -> str:
        """Return what a reader sees."""
        seen: str = self.evaluate("document.body.innerText")
        return seen

    def fill(self, selector: str, text: str) -> None:
        """Type into a field."""
        self.evaluate(f"{_found(selector)}.value = {json.dumps(text)}")
        self.evaluate(f"{_found(selector)}.dispatchEvent(new Event('input', {{bubbles: true}}))")

    def click(self, selector: str) -> None:
        """Click on something."""
        self.evaluate(f"{_found(selector)}.click()")

    def overflowing(self) -> list[str]:
        """Return what is wider than the window, except inside something that scrolls on its own."""
        found: list[str] = self.evaluate(OVERFLOWING)
        return found

    def errors(self) -> list[str]:
        """Return the console's errors, uncaught exceptions, failed loads and refusals of a policy until now."""
        self.evaluate("0")
        return list(self._errors)

    def requests(self) -> list[str]:
        """Return the addresses that were asked for until now, data: ones left out."""
        self.evaluate("0")
        return [address for address in self._requests if not address.startswith("data:")]

    def screenshot(self, path: Path) -> None:
        """Write a PNG of the whole page."""
        image = self.send("Page.captureScreenshot", {"captureBeyondViewport": True})["data"]
        path.write_bytes(base64.b64decode(image))

    def note(self, method: str, parameters: dict[str, Any]) -> None:
        """Remember an event."""
        if method == "Page.loadEventFired":
            self._loaded += 1
        elif method == "Network.requestWillBeSent":
            self._requests.append(parameters["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self._errors.append(json.dumps(parameters["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and parameters["type"] in ("error", "assert"):
            self._errors.append(json.dumps(parameters["args"]))
        elif method == "Log.entryAdded" and parameters["entry"]["level"] == "error":
            self._errors.append(f"{parameters['entry']['text']} {parameters['entry'].get('url', '')}")


def _found(selector: str) -> str:
    return f"document.querySelector({json.dumps(selector)})"
