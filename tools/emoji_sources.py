"""The npm packages that the emoji data come from: fetched, checked, and read as pictures by codepoint."""

import hashlib
import json
import subprocess
import tarfile
from pathlib import Path

# npm package -> (version, sha256 of its tarball). A changed pin changes the bundled pictures.
PACKAGES = {
    "emojibase-data": (
        "17.0.0",
        "d01d0e2ca4e22cb402679532155342c71e2e871f25c32223c013b8b166ebdf5a",
    ),
    "@iconify-json/noto": (
        "1.2.9",
        "3e918d88fc945c0bb3d468dbace6f88caef67f01c9f0e7bcae0915a042e8f1ad",
    ),
    "@iconify-json/twemoji": (
        "1.2.5",
        "19046dff7d8707ce96212ec86468b36ac5f8e60409629dd13f809265c6d0ebb7",
    ),
    "@iconify-json/fluent-emoji-flat": (
        "1.2.6",
        "7d064769dee690815f823bc5bcc511d957198caf9f5edd8dd9c1aa48a6aeb175",
    ),
    "@lobehub/fluent-emoji-3d": (
        "1.1.0",
        "c1bb7eee7de090205a232518a9ab4adb3df458bfbe8a1f78232991194c8b2e58",
    ),
    "openmoji": (
        "17.0.0",
        "55ee7d13485dec86e9f38c1f3a645a13382d33ff97c0cd845ee824b0aef45e68",
    ),
    "spdx-license-list": (
        "6.12.0",
        "54cc8d13086187333ca1457c8edaa06d9a412144f076aa7f7c1b59c4f3b0a1ef",
    ),
}
ICONIFY = {
    "noto": "@iconify-json/noto",
    "twemoji": "@iconify-json/twemoji",
    "fluent-flat": "@iconify-json/fluent-emoji-flat",
}


class DataError(RuntimeError):
    """The data cannot be built; the message names what is missing and the fix."""


def normal(codepoints: str) -> str:
    """Lower-case codepoints joined by ``-``, without the variation selector FE0F."""
    return "-".join(part for part in codepoints.lower().split("-") if part != "fe0f")


def unpack(name: str, cache: Path, pinned: tuple[str, str] | None = None) -> Path:
    """Fetch one pinned npm package into the cache, check its sha256, return its folder."""
    version, pin = pinned or PACKAGES[name]
    file = cache / f"{name.removeprefix('@').replace('/', '-')}-{version}.tgz"
    if not file.exists():
        command = ["npm", "pack", f"{name}@{version}", "--silent", "--pack-destination", str(cache)]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True)
        except FileNotFoundError as error:
            raise DataError("npm is not on the path: install Node.js, then run again") from error
        except subprocess.CalledProcessError as error:
            raise DataError(f"npm could not fetch {name}@{version}: {error.stderr}") from error
    found = hashlib.sha256(file.read_bytes()).hexdigest()
    if found != pin:
        raise DataError(
            f"{file.name} has sha256 {found}, expected {pin}: delete it from the cache and run "
            "again; if it differs still, the registry serves other content than was pinned"
        )
    folder = cache / file.stem
    if not folder.exists():
        with tarfile.open(file) as archive:
            archive.extractall(folder, filter="data")
    return folder / "package"


def iconify_svgs(folder: Path) -> dict[str, str]:
    """SVG text by codepoints for one Iconify package, its aliases and mirrored icons resolved."""
    icons = json.loads((folder / "icons.json").read_text("utf-8"))
    chars = json.loads((folder / "chars.json").read_text("utf-8"))
    svgs = {}
    for codepoints, icon in sorted(chars.items()):
        mirrored = False
        while (alias := icons.get("aliases", {}).get(icon)) is not None:
            mirrored ^= alias.get("hFlip", False)
            icon = alias["parent"]
        drawing = icons["icons"][icon]
        width = drawing.get("width", icons["width"])
        height = drawing.get("height", icons["height"])
        body = drawing["body"]
        if mirrored:
            body = f'<g transform="translate({width} 0) scale(-1 1)">{body}</g>'
        svgs.setdefault(
            normal(codepoints),
            '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
            f'width="{width}" height="{height}" viewBox="0 0 {width} {height}">{body}</svg>',
        )
    return svgs


def by_codepoints(folder: Path, pattern: str) -> dict[str, Path]:
    """The files of a folder that are named by codepoints."""
    return {normal(file.stem): file for file in sorted(folder.glob(pattern))}


def read_sources(cache: Path) -> dict[str, dict[str, str | Path]]:
    """Style -> codepoints -> SVG text, or the path of an SVG or WebP file."""
    sources = {style: iconify_svgs(unpack(name, cache)) for style, name in ICONIFY.items()}
    fluent = unpack("@lobehub/fluent-emoji-3d", cache)
    openmoji = unpack("openmoji", cache)
    sources["fluent-3d"] = by_codepoints(fluent / "assets", "*.webp")
    sources["openmoji"] = by_codepoints(openmoji / "color" / "svg", "*.svg")
    sources["openmoji-line"] = by_codepoints(openmoji / "black" / "svg", "*.svg")
    return sources
