"""A page for everybody: by keyboard, by screen reader, in contrast, and on paper."""

import re
from importlib import resources
from itertools import pairwise

import pytest
from report.test_page import opened

FOCUSABLE = """Array.from(document.querySelectorAll(
  'a[href], button, input, select, summary, [tabindex="0"]'))
  .filter(e => e.checkVisibility() && !e.disabled)"""
WALK = """(() => {
  const here = document.activeElement;
  if (here === document.body) return null;
  here.setAttribute('data-reached', Number(here.dataset.reached ?? 0) + 1);
  return getComputedStyle(here).outlineStyle !== 'none';
})()"""
HEADINGS = "Array.from(document.querySelectorAll('h1, h2, h3, h4'), h => Number(h.tagName[1]))"
NAMED = "svg.marks, select, input, summary, button, [role=region], canvas, img"
UNNAMED = f"""Array.from(document.querySelectorAll('{NAMED}'))
  .filter(e => e.checkVisibility())
  .filter(e => ![e.getAttribute('aria-label'), e.alt, e.textContent, e.labels?.[0]?.textContent]
    .some(name => name?.trim()))
  .map(e => e.outerHTML.slice(0, 120))"""

# foreground and background of every text
TEXTS = (
    *((text, paper) for text in ("ink", "soft", "link") for paper in ("paper", "card", "wash")),
    *((word, ground) for word in ("yes", "no", "open", "none") for ground in (f"{word}-wash", "paper")),
)


def luminance(colour: str) -> float:
    parts = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: str, two: str) -> float:
    """As WCAG 2.2 has it, from 1 to 21."""
    low, high = sorted((luminance(one), luminance(two)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_is_as_known():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_stand_out_from_their_paper(scheme):
    css = (resources.files("tunescope.report") / "page" / "report.css").read_text(encoding="utf-8")
    light, dark = (
        dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", part)) for part in css.split(":root {")[1:3]
    )
    colours = light if scheme == "light" else light | dark
    for text, ground in TEXTS:
        assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    assert contrast(colours["edge"], colours["card"]) >= 3  # of what can be operated


def test_a_walk_with_tab_reaches_everything_and_is_never_caught(browser, written):
    tab, heard = opened(browser, written)
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.className") == "skip"
    tab.locator("#filters summary").focus()
    tab.keyboard.press("Enter")
    tab.locator("#trade-off .data > summary").focus()
    tab.keyboard.press("Enter")
    tab.wait_for_selector("#trade-off .data table")
    tab.evaluate("(document.activeElement.blur(), getSelection().removeAllRanges(), scrollTo(0, 0))")
    count = tab.evaluate(f"{FOCUSABLE}.length")
    assert count > 60
    tab.evaluate("document.querySelector('.skip').focus()")
    steps = 0
    while (outlined := tab.evaluate(WALK)) is not None:
        assert outlined, tab.evaluate("document.activeElement.outerHTML.slice(0, 200)")
        tab.keyboard.press("Tab")
        steps += 1
        assert steps <= count + 5
    assert (
        tab.evaluate(f"{FOCUSABLE}.filter(e => !e.dataset.reached).map(e => e.outerHTML.slice(0, 120))") == []
    )
    assert (
        tab.evaluate(
            "Math.max(...Array.from(document.querySelectorAll('[data-reached]'), e => e.dataset.reached))"
        )
        == 1
    )

    levels = tab.evaluate(HEADINGS)
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert tab.evaluate(UNNAMED) == []
    assert tab.evaluate(
        "Array.from(document.querySelectorAll('svg.marks')).every(s => s.getAttribute('role') === 'img')"
    )
    for landmark in ("header", "main", "nav[aria-label]", "form[aria-label]"):
        assert tab.locator(landmark).count() == 1
    assert heard == []
    tab.close()


def test_on_paper_everything_is_drawn_unfolded_and_light(browser, written):
    tab, heard = opened(browser, written, scheme="dark", ask="")
    charts = tab.locator(".chart").count()
    assert tab.locator("svg.marks").count() < charts
    pdf = tab.pdf()
    assert len(re.findall(rb"/Type\s*/Page\b", pdf)) > 5
    tab.wait_for_function("count => document.querySelectorAll('svg.marks').length === count", arg=charts)
    tab.wait_for_function("() => !document.querySelector('main details[open]')")  # folded again

    tab.emulate_media(media="print", color_scheme="dark")
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert tab.evaluate("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
    unfolded = "() => !document.querySelector('.words details:not([open])')"
    tab.wait_for_function(unfolded)
    for gone in ("#filters", "nav", ".data", ".skip"):
        assert tab.locator(f"{gone}:visible").count() == 0
    tab.emulate_media(media="screen")
    tab.wait_for_function("() => !document.querySelector('main details[open]')")
    assert heard == []
    tab.close()


def test_without_scripts_there_are_the_answers_and_the_runs(browser, written):
    context = browser.new_context(java_script_enabled=False)
    tab = context.new_page()
    tab.goto(written.as_uri())
    assert tab.locator(".sentence:visible").count() == 3
    assert tab.locator("#runs tbody tr:visible").count() == 20
    assert tab.locator("#filters:visible, .map-controls:visible").count() == 0
    assert "turned off here" in tab.locator(".notice").last.inner_text()
    context.close()
