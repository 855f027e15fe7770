"""A page of 200 runs: how long it takes to write, how large it is, and how long a reader waits in Chromium.

Run: python benchmarks/page.py [--rounds 3]

The study is made up: 200 runs of 12 layers × 12 heads with every probe, a live monitor and ten answers.
Printed: seconds to render, bytes, and medians over rounds of the seconds from asking for the file to the
first answer, to a page that hears its reader (its charts near the window drawn), for all charts, and for a
choice of one group with all charts in view.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from playwright.sync_api import Browser, sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from report import large_study
from report import synthetic_study as made_up

from tunescope.report import page

OWN = Path("/usr/bin/chromium")
READY = "() => document.documentElement.dataset.charts"


def written(folder: Path) -> Path:
    """The page, and how long it took."""
    study = large_study.study()
    table = large_study.table(study)
    answers, arrays = large_study.answers(table), made_up.arrays(table)
    start = time.perf_counter()
    path = page.write(folder, study, table, answers, arrays, made_up.MADE)
    print(f"rendered in {time.perf_counter() - start:.1f} s: {path.stat().st_size / 1e6:.2f} MB")
    return path


def waited(browser: Browser, path: Path) -> tuple[float, float, float, float]:
    """Seconds to the first answer, until the page is usable, for all charts, and for a choice."""
    tab = browser.new_page(viewport={"width": 1280, "height": 900})
    start = time.perf_counter()
    tab.goto(path.as_uri(), wait_until="commit")
    tab.wait_for_selector(".answer .sentence")
    answer = time.perf_counter() - start
    tab.wait_for_function(READY)
    usable = time.perf_counter() - start
    start = time.perf_counter()
    tab.evaluate("drawAll()")
    drawn = time.perf_counter() - start
    tab.locator("#filters summary").click()
    start = time.perf_counter()
    tab.get_by_role("group", name="Groups").get_by_role("button", name="none").click()
    tab.get_by_label("lora", exact=True).check()
    tab.evaluate("drawAll()")
    chosen = time.perf_counter() - start
    tab.close()
    return answer, usable, drawn, chosen


def main() -> None:
    """Write the page and open it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        path = written(Path(folder))
        own = str(OWN) if OWN.exists() else None
        browser = playwright.chromium.launch(args=["--no-sandbox"], executable_path=own)
        times = [waited(browser, path) for _ in range(rounds)]
        browser.close()
    names = ("first answer", "usable", "all charts drawn", "one group chosen, all drawn again")
    for name, seconds in zip(names, zip(*times, strict=True), strict=True):
        print(f"{name}: {median(seconds):.2f} s")


if __name__ == "__main__":
    main()
