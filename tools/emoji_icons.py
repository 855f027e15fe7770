"""More drawings to pretrain on: free icon sets, less everything that shows a held-out emoji.

Two kinds. Other emoji sets draw the same training emoji in other styles; a drawing whose name is not
that of a training emoji is left out. General icon sets draw other things under their own names; an
icon whose name contains the name of a held-out emoji is left out. None of this is bundled.
"""

import io
import json
import re
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from emoji_sources import unpack
from make_emoji_data import render
from safetensors.numpy import load_file, save_file

# npm package -> (version, sha256 of its tarball, licence)
EMOJI_SETS = {
    "@iconify-json/noto-v1": (
        "1.2.5",
        "2bf62c26c2c2884aa99e90aec942cdaee17a5921f05690694f4978ad4b017c37",
        "Apache-2.0",
    ),
    "@iconify-json/emojione": (
        "1.2.3",
        "26a14f44284407e8bcde91799388dca2bfd91dbcd55a97f425524a1c5b73610e",
        "CC-BY-4.0",
    ),
    "@iconify-json/emojione-monotone": (
        "1.2.1",
        "40b90004bafb406b59266155ef9b7e1dd67bf2947fc8db8d07388776f4d0d04e",
        "CC-BY-4.0",
    ),
    "@iconify-json/streamline-emojis": (
        "1.2.4",
        "5dac87c876b322500989828c5823143e0100d78881627a2e4081a4b897cbfdbc",
        "CC-BY-4.0",
    ),
}
ICON_SETS = {
    "@iconify-json/game-icons": (
        "1.2.4",
        "f5758efb34d91c4f50b941f355f16ee73938625e5996fabc25171288404460a4",
        "CC-BY-3.0",
    ),
    "@iconify-json/ph": ("1.2.2", "e3a582a047d9829fc7e8842c660d8065e598d1b68bb58cb68e75a1f1e5a614cc", "MIT"),
    "@iconify-json/streamline-kameleon-color": (
        "1.2.2",
        "5f972d986afb340d8a45d7a16e767f99f91fdd94db53e46a78c79847212aed7b",
        "CC-BY-4.0",
    ),
    "@iconify-json/streamline-ultimate-color": (
        "1.2.2",
        "46133a11f3734bcef29066391d7edc141ed1d8056242ddfa1b5d36ce286420b6",
        "CC-BY-4.0",
    ),
    "@iconify-json/flat-color-icons": (
        "1.2.3",
        "d8878a9b0f02d749bc8671eb7d47882eb711185cbcefbb365cbfb488773c4786",
        "MIT",
    ),
}
# Words of an icon's name that say how it is drawn.
MANNER = {"duotone", "duo", "flat", "color", "simple", "abstract"}


def words(text: str) -> str:
    """Lower-case words of a name: `Man-in-Tuxedo` → `man in tuxedo`."""
    return " ".join(re.findall(r"[a-z0-9']+", text.lower()))


class HeldOut:
    """Says whether a text contains the name of a held-out emoji.

    Args:
        names: the names of all held-out emoji.
    """

    def __init__(self, names: list[str]):
        longest_first = sorted({words(name) for name in names}, key=len, reverse=True)
        self.pattern = re.compile(r"\b(?:" + "|".join(map(re.escape, longest_first)) + r")\b")

    def within(self, text: str) -> bool:
        """True where the words of `text` contain a whole held-out name."""
        return self.pattern.search(words(text)) is not None


def _svgs(package: str, pin: tuple[str, str, str], cache: Path) -> dict[str, str]:
    icons = json.loads((unpack(package, cache, pin[:2]) / "icons.json").read_text("utf-8"))
    found = {}
    for name, drawing in sorted(icons["icons"].items()):
        if drawing.get("hidden"):
            continue
        box = [
            drawing.get(k, icons.get(k, d))
            for k, d in (("left", 0), ("top", 0), ("width", 16), ("height", 16))
        ]
        view = " ".join(map(str, box))
        found[name] = (
            '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
            f'width="{box[2]}" height="{box[3]}" viewBox="{view}" color="#222222">{drawing["body"]}</svg>'
        )
    return found


def _other_names(cache: Path) -> dict[str, str]:
    """Names under which icon sets file an emoji → its codepoints, aliases with them."""
    found = {}
    for package in ("@iconify-json/noto", "@iconify-json/twemoji"):
        folder = unpack(package, cache)
        icons = json.loads((folder / "icons.json").read_text("utf-8"))
        chars = json.loads((folder / "chars.json").read_text("utf-8"))
        of = {icon: code for code, icon in chars.items()}
        found |= {words(icon): code for icon, code in of.items()}
        for alias, said in icons.get("aliases", {}).items():
            if said["parent"] in of:
                found[words(alias)] = of[said["parent"]]
    return found


def _pixels(svg: str, size: int) -> np.ndarray | None:
    from PIL import Image

    try:
        picture = render((svg, size, 90))
    except ValueError:  # a drawing that resvg cannot read is one picture fewer
        return None
    return np.array(Image.open(io.BytesIO(picture)).convert("RGB"))


def read_icons(concepts: list[dict], cache: Path, workers: int) -> tuple[np.ndarray, list[str | int]]:
    """All extra drawings, and for each the index of its emoji in `concepts`, or its own caption.

    Args:
        concepts: every emoji, held-out ones too, as `concepts.parquet` has them.
        cache: folder that keeps the npm packages and, for the next time, the result.
        workers: processes that render.
    """
    kept_pixels, kept_said = cache / "icons.safetensors", cache / "icons.json"
    if kept_said.is_file():  # written last
        return load_file(kept_pixels)["pixels"], json.loads(kept_said.read_text("utf-8"))
    held_out = HeldOut([concept["name"] for concept in concepts if concept["pretraining"] != "train"])
    by_name = {words(concept["name"]): i for i, concept in enumerate(concepts)}
    by_code = {concept["codepoints"]: i for i, concept in enumerate(concepts)}
    for name, code in _other_names(cache).items():
        if code in by_code:
            by_name.setdefault(name, by_code[code])
    svgs: list[str] = []
    said: list[str | int] = []
    for package, pin in EMOJI_SETS.items():
        for name, svg in _svgs(package, pin, cache).items():
            place = by_name.get(re.sub(r" \d$", "", words(name)))
            if place is not None and concepts[place]["pretraining"] == "train":
                svgs.append(svg)
                said.append(place)
    for package, pin in ICON_SETS.items():
        for name, svg in _svgs(package, pin, cache).items():
            if package.endswith("/ph") and not name.endswith("-duotone"):
                continue  # the other five weights draw the same things
            caption = " ".join(w for w in words(name).split() if w not in MANNER and not w.isdigit())
            if len(caption) > 2 and not held_out.within(caption):
                svgs.append(svg)
                said.append(caption)
    with ProcessPoolExecutor(workers) as pool:
        pixels = list(pool.map(partial(_pixels, size=48), svgs, chunksize=64))
    kept = [i for i, picture in enumerate(pixels) if picture is not None]
    drawn, said = np.stack([pixels[i] for i in kept]), [said[i] for i in kept]
    save_file({"pixels": drawn}, kept_pixels)
    kept_said.write_text(json.dumps(said), "utf-8")
    return drawn, said
