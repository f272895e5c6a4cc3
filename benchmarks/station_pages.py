"""How heavy and how quick the station's pages are, in a real headless Chromium.

    python benchmarks/station_pages.py [--rows 1000000] [--history FOLDER] [--out FILE]

A station with a bundle taught on drawn chips has judged 24 photographs. Each page is opened ROUNDS times in a
context of its own, so that nothing is cached: first contentful paint and layout shift are the browser's own
figures. Sizes are what gzip makes of the page, its styles and its scripts, libraries included.

The next picture: the time from a key to the frame that shows another picture, decoded; in Review by an
answer, in Inspect by Space in a judged batch. A drag: 5,000 scores on Threshold (its JSON is filled up to
that), the NG limit is dragged to and fro; a step is the handler with style and layout, a frame what the
browser says between two. A filter: History over a million drawn inspections (those of station_history.py),
from the click to the first paint of the filtered page.
"""

from __future__ import annotations

import argparse
import gzip
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any
from urllib.request import urlopen

import numpy as np
from loopback import Connection, free_port, inspect_head, station
from playwright.sync_api import Browser, Page, sync_playwright
from station_history import START_US, YEAR_US, fill
from tiles import machine_line

import flawscope
from flawscope.store.clock import iso
from flawscope.store.store import Store
from flawscope.synth.write import write_chips

ROUNDS = 2
SCORES = 5000
CHROMIUM = "/usr/bin/chromium"
OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
SIZES = {"desktop": {"width": 1280, "height": 800}, "phone": {"width": 390, "height": 844}}
WATCH = """
window.shift = 0;
new PerformanceObserver((list) => {
  for (const one of list.getEntries()) if (!one.hadRecentInput) window.shift += one.value;
}).observe({ type: "layout-shift", buffered: true });
"""
PAINT = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? -1"
# until the picture of another part is there, decoded, and the frame with it was made
NEXT = """
async ([selector, attribute, code, key]) => {
  const shown = () => document.querySelector(selector);
  const before = shown().getAttribute(attribute);
  const start = performance.now();
  document.body.dispatchEvent(new KeyboardEvent("keydown", { code, key, bubbles: true, cancelable: true }));
  document.body.dispatchEvent(new KeyboardEvent("keyup", { code, key, bubbles: true }));
  for (;;) {
    await new Promise((done) => requestAnimationFrame(done));
    const other = shown() && shown().getAttribute(attribute) !== before;
    const image = other && shown().querySelector("[data-view] img");
    if (image) {
      await image.decode();
      await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
      return performance.now() - start;
    }
    if (performance.now() - start > 20000) throw new Error("no next picture");
  }
}
"""
DRAG = """
async (steps) => {
  const mark = document.querySelector("svg.wide-only [data-mark=ng]");
  const box = mark.querySelector(".grip").getBoundingClientRect();
  const y = box.y + box.height / 2;
  const at = (type, x) => new PointerEvent(type, { pointerId: 1, clientX: x, clientY: y, bubbles: true });
  mark.setPointerCapture = () => {};
  mark.hasPointerCapture = () => true;
  mark.dispatchEvent(at("pointerdown", box.x));
  const steady = [], frames = [];
  let last = await new Promise(requestAnimationFrame);
  for (let step = 0; step < steps; step += 1) {
    const start = performance.now();
    mark.dispatchEvent(at("pointermove", box.x + 200 * Math.sin(step / 8)));
    document.body.getBoundingClientRect();
    steady.push(performance.now() - start);
    const now = await new Promise(requestAnimationFrame);
    frames.push(now - last);
    last = now;
  }
  return { steady, frames };
}
"""


def taught(folder: Path) -> tuple[Path, list[Path]]:
    """Teach a bundle and return it with photographs that it has not seen."""
    write_chips(folder / "chips", good=40, bad=12, size_wh=(320, 240), seed=3)
    settings = {"budget": 224, "settings": {"bank": 500}}
    flawscope.train(folder / "chips", out=folder / "run", settings=settings, threads=2)
    return folder / "run" / "model.flaw", sorted((folder / "chips").glob("test/*/*.png"))[:24]


@contextmanager
def opened(browser: Browser, base: str, size: str = "desktop") -> Iterator[Page]:
    """Yield a page of a panel of its own that watches for shifts."""
    phone = size == "phone"
    context = browser.new_context(base_url=base, viewport=SIZES[size], has_touch=phone, is_mobile=phone)
    context.add_init_script(WATCH)
    try:
        yield context.new_page()
    finally:
        context.close()


def zipped(url: str) -> int:
    """Return how many bytes gzip makes of what stands at a URL."""
    with urlopen(url, timeout=60) as answer:
        return len(gzip.compress(answer.read()))


def weights(names: list[str], ending: str) -> int:
    """Return the zipped bytes of those of the files that end so."""
    return sum(zipped(name) for name in {name.split("?")[0] for name in names} if name.endswith(ending))


def pages(browser: Browser, base: str, paths: dict[str, str]) -> list[str]:
    """Return the table's rows of pages."""
    rows = []
    for name, path in paths.items():
        paints: list[float] = []
        shifts: dict[str, float] = {}
        for size in SIZES:
            found = []
            for _ in range(ROUNDS):
                with opened(browser, base, size) as page:
                    page.goto(path)
                    page.wait_for_load_state("load")
                    page.wait_for_timeout(900)
                    paints.append(page.evaluate(PAINT))
                    found.append(page.evaluate("window.shift"))
                    names = page.evaluate("performance.getEntriesByType('resource').map((one) => one.name)")
            shifts[size] = max(found)
        sizes = (zipped(base + path), weights(names, ".css"), weights(names, ".js"))
        heavy = " | ".join(f"{count / 1000:.1f}" for count in sizes)
        rows.append(
            f"| {name} | {heavy} | {min(paints):.0f} | {median(paints):.0f} | "
            f"{shifts['desktop']:.3f} | {shifts['phone']:.3f} |"
        )
        print(rows[-1], flush=True)
    return rows


def next_pictures(browser: Browser, base: str, pictures: list[Path]) -> dict[str, list[float]]:
    """Return the milliseconds from a key to the next picture, in Review and in Inspect."""
    found: dict[str, list[float]] = {}
    with opened(browser, base) as page:
        page.goto("/review")
        page.wait_for_selector("[data-ready=yes]")
        page.wait_for_timeout(1500)
        found["Review, an answer"] = []
        for _ in range(8):
            found["Review, an answer"].append(
                page.evaluate(NEXT, ["[data-part]", "data-part", "Digit1", "1"])
            )
            page.wait_for_timeout(700)  # a person looks
    with opened(browser, base) as page:
        page.goto("/inspect")
        page.set_input_files("#inspect-files", [str(path) for path in pictures[:8]])
        page.locator("[data-list] .tile").nth(7).wait_for(timeout=120_000)
        page.wait_for_timeout(1500)
        before = page.evaluate("window.shift")
        found["Inspect, Space in a batch"] = []
        for _ in range(7):
            arguments = ["[data-inspection]", "data-inspection", "Space", " "]
            found["Inspect, Space in a batch"].append(page.evaluate(NEXT, arguments))
            page.wait_for_timeout(700)
        print("shift while walking a batch", page.evaluate("window.shift") - before, flush=True)
    return found


def drag(browser: Browser, base: str) -> dict[str, list[float]]:
    """Return the milliseconds of each step of a drag, and between frames, at SCORES scores."""

    def filled(route: Any) -> None:
        answer = route.fetch()
        values = answer.json()
        data, rng = values["data"], np.random.default_rng(0)
        top = 1.6 * (data["limits"]["ng"] or 1.0)
        more = SCORES - len(data["calibration"]["scores"]) - len(data["reviewed"]) - len(data["recent"])
        scores = rng.gamma(8, top / 24, more)
        reviewed, recent, rest = scores[:1000], scores[1000:1500], scores[1500:]
        thumb = {"verdict": "OK", "name": "p", "thumb": "/static/icon.svg"}
        for number, score in enumerate(reviewed.tolist()):
            said = {"answer": "bad" if number % 4 == 0 else "good", "defect": ""}
            data["reviewed"].append({"id": f"r{number}", "score": score, **said, **thumb})
        for number, score in enumerate(recent.tolist()):
            data["recent"].append({"id": f"n{number}", "score": score, **thumb})
        data["calibration"]["scores"] += rest.tolist()
        data["calibration"]["weights"] += [1.0] * len(rest)
        route.fulfill(response=answer, body=json.dumps(values))

    with opened(browser, base) as page:
        page.route("**/threshold.json*", filled)
        page.goto("/threshold")
        page.wait_for_selector("[data-ready=yes]")
        page.wait_for_timeout(1000)
        found = page.evaluate(DRAG, 120)
    return {"a step of the drag": found["steady"], "between two frames": found["frames"]}


def filters(browser: Browser, base: str) -> dict[str, list[float]]:
    """Return the milliseconds from a filter's click to the first paint of the filtered page; after the click
    the browser's clock starts anew with the navigation."""
    month = f"/history?from={iso(START_US + 6 * YEAR_US // 12)}&to={iso(START_US + 7 * YEAR_US // 12)}"
    asked = {
        "everything": "/history",
        "NG": "/history?verdict=NG",
        "a product": "/history?product=product+7",
        "a lot": "/history?lot=L02500",
        "a defect": "/history?defect=crack",
        "a month": month,
        "a station": "/history?station=cell+2",
        "risk of 90 and more": "/history?risk_from=90",
    }
    found: dict[str, list[float]] = {}
    for name, path in asked.items():
        found[name] = []
        with opened(browser, base) as page:
            page.goto("/login")  # the browser has its styles and scripts
            for _ in range(ROUNDS):
                page.goto("/models")
                page.evaluate(
                    "(path) => { const link = document.createElement('a'); link.href = path; link.id = 'go';"
                    " link.textContent = 'go'; document.querySelector('main').prepend(link); }",
                    path.replace("+00:00", "Z"),
                )
                page.click("#go")
                page.wait_for_load_state("load")
                page.wait_for_timeout(100)
                found[name].append(page.evaluate(PAINT))
        print(f"filter {name}: {[round(one) for one in found[name]]}", flush=True)
    return found


def main() -> None:
    """Measure and write the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--history", type=Path, help="A filled store, or where to keep one.")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/station_pages.md"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, sync_playwright() as driver:
        folder = Path(name)
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        model, pictures = taught(folder)
        port = free_port()
        base = f"http://127.0.0.1:{port}"
        with station(folder / "store", model, port=port, log=folder / "log"):
            connection = Connection(port)
            for picture in pictures:
                content = picture.read_bytes()
                reply = connection.ask(inspect_head(len(content), part=picture.stem), content)
                assert reply.status == 200, reply
            shown = reply.data()["id"]
            connection.close()
            paths = {
                "Inspect": "/inspect", "Inspect, a part": f"/inspect?id={shown}", "Review": "/review",
                "History": "/history", "A part": f"/i/{shown}", "Teach": "/teach", "Threshold": "/threshold",
                "Drift": "/drift", "Models": "/models", "Admin": "/admin",
            }  # fmt: skip
            rows = pages(browser, base, paths)
            times = next_pictures(browser, base, pictures)
            times |= drag(browser, base)
        million = arguments.history or folder / "history"
        with Store(million) as store:
            fill(store, arguments.rows)
        with station(million, model, port=port, log=folder / "log"):
            filtered = filters(browser, base)
        browser.close()
    arguments.out.write_text(report(arguments, rows, times, filtered))
    print(arguments.out.read_text())


def report(
    arguments: argparse.Namespace,
    rows: list[str],
    times: dict[str, list[float]],
    filtered: dict[str, list[float]],
) -> str:
    """Return the result page."""
    budgets = {"a step of the drag": 16, "between two frames": 16}
    lines = [
        "# The station's pages in a browser",
        "",
        f"`python benchmarks/station_pages.py --rows {arguments.rows}`; its head says what is measured.",
        "",
        machine_line(),
        "",
        "Budgets: HTML 30 kB, styles 14, scripts 30 (Review 12 more), zipped; first paint 500 ms, shift 0.",
        "",
        "| page | HTML, kB | styles, kB | scripts, kB | first paint, best | median, ms | shift | phone |",
        "|---|---|---|---|---|---|---|---|",
        *rows,
        "",
        "| what | budget, ms | best, ms | median, ms | of |",
        "|---|---|---|---|---|",
    ]
    named = times | {
        f"History over {arguments.rows:,} parts: {name}": some for name, some in filtered.items()
    }
    for name, some in named.items():
        budget = budgets.get(name, 300 if name.startswith("History") else 100)
        lines.append(f"| {name} | {budget} | {min(some):.1f} | {median(some):.1f} | {len(some)} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
