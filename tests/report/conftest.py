import os
from pathlib import Path

import pytest
from playwright.sync_api import Error, sync_playwright
from report import synthetic_study as made_up

from tunescope.report import page

CHROMIUM = Path("/usr/bin/chromium")
QUIET = ("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")
QUIET += ("--disable-component-update", "--disable-sync")


@pytest.fixture(scope="session")
def browser():
    with sync_playwright() as playwright:
        own = str(CHROMIUM) if CHROMIUM.exists() else None
        try:
            found = playwright.chromium.launch(args=list(QUIET), executable_path=own)
        except Error as error:
            if os.environ.get("CI"):
                raise
            pytest.skip(
                f"no Chromium ({str(error).splitlines()[0]}); run `python -m playwright install chromium`"
            )
        yield found
        found.close()


@pytest.fixture(scope="session")
def study():
    return made_up.study()


@pytest.fixture(scope="session")
def table(study):
    return made_up.table(study)


@pytest.fixture(scope="session")
def written(study, table, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    return page.write(folder, study, table, made_up.answers(table), made_up.arrays(table), made_up.MADE)
