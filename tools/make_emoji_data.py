"""Build the bundled emoji data: about 1,560 emoji in six styles, with names, keywords and groups.

The pictures come from pinned npm packages (SVG where there is one), are joined by codepoint without
the variation selector FE0F, laid on white, and stored as 48-pixel WebP. The result is the same to
the last byte every time with the same versions of the rendering libraries, so running this again
shows whether the bundled files are what they say.

    python tools/make_emoji_data.py --cache /some/folder

Needs npm on the path and pyarrow, pillow and resvg-py installed. It writes ``emoji/*.parquet``,
``LICENSES/``, ``NOTICE.md`` and ``SHA256SUMS`` into the bundled folder.
"""

import argparse
import hashlib
import io
import json
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from emoji_notice import LICENSE_FILES, NOTICE, mit
from emoji_sources import DataError, normal, read_sources, unpack

BUNDLED = Path(__file__).resolve().parents[1] / "src" / "tunescope" / "bundled"

FREE_STYLES = ("noto", "twemoji", "fluent-3d", "fluent-flat")
SHARE_ALIKE_STYLES = ("openmoji", "openmoji-line")  # CC BY-SA: kept in a file of their own
LEFT_OUT_GROUPS = ("component", "flags")
# Who is drawn, not what: man, woman, person, boy, girl, the gender signs, "facing right", joiners.
PERSON_PARTS = frozenset(
    ["1f468", "1f469", "1f9d1", "1f466", "1f467", "1f9d2", "2640", "2642", "27a1", "200d"],
)


def family(codepoints: str) -> str:
    """The emoji without who is drawn in it, so that all gender variants share one family."""
    parts = codepoints.split("-")
    if len(parts) == 1:
        return codepoints
    return "-".join(part for part in parts if part not in PERSON_PARTS) or "family"


def read_concepts(cache: Path) -> dict[str, dict]:
    """Codepoints -> name, keywords, group and subgroup, flags and components left out."""
    folder = unpack("emojibase-data", cache)
    emoji = json.loads((folder / "en" / "data.json").read_text("utf-8"))
    labels = json.loads((folder / "meta" / "groups.json").read_text("utf-8"))
    concepts = {}
    for one in emoji:
        group = labels["groups"].get(str(one.get("group")))
        if group is None or group in LEFT_OUT_GROUPS:
            continue
        codepoints = normal(one["hexcode"])
        concepts[codepoints] = {
            "codepoints": codepoints,
            "emoji": one["emoji"],
            "name": one["label"],
            "keywords": [tag for tag in one.get("tags", []) if tag != one["label"]],
            "group": group,
            "subgroup": labels["subgroups"][str(one["subgroup"])],
            "order": one["order"],
        }
    return concepts


def split(concepts: list[dict], seed: int) -> None:
    """Give every concept its part in pretraining: of each group a tenth to test, a tenth to val.

    Families go whole to one part, so no gender variant of a held-out emoji is ever seen. Their
    order is a hash: the parts do not change with the order of the file.
    """
    groups: dict[str, dict[str, list[dict]]] = {}
    for concept in concepts:
        concept["family"] = family(concept["codepoints"])
        families = groups.setdefault(concept["group"], {})
        families.setdefault(concept["family"], []).append(concept)
    for families in groups.values():
        quota = round(sum(map(len, families.values())) / 10)
        left = {"test": quota, "val": quota}
        for key in sorted(families, key=lambda k: hashlib.sha256(f"{seed}:{k}".encode()).digest()):
            members = families[key]
            part = next((p for p, n in left.items() if n >= len(members)), "train")
            if part != "train":
                left[part] -= len(members)
            for concept in members:
                concept["pretraining"] = part


def render(job: tuple[str | Path, int, int]) -> bytes:
    """One picture as WebP bytes: drawn, padded to a square, laid on white."""
    import resvg_py
    from PIL import Image

    source, size, quality = job
    if isinstance(source, Path) and source.suffix == ".webp":
        picture = Image.open(source)
    else:
        svg = source.read_text("utf-8") if isinstance(source, Path) else source
        # Drawn at four times the size: resvg's own edges are harder than a Lanczos reduction.
        png = resvg_py.svg_to_bytes(svg_string=svg, width=4 * size, skip_system_fonts=True)
        picture = Image.open(io.BytesIO(bytes(png)))
    picture = picture.convert("RGBA")
    side = max(picture.size)
    canvas = Image.new("RGBA", (side, side), (255, 255, 255, 255))
    corner = ((side - picture.width) // 2, (side - picture.height) // 2)
    canvas.alpha_composite(picture, corner)
    buffer = io.BytesIO()
    canvas.convert("RGB").resize((size, size), Image.Resampling.LANCZOS).save(
        buffer, "WEBP", quality=quality, method=6
    )
    return buffer.getvalue()


def write_parquet(rows: list[dict], schema, file: Path) -> None:
    """One row group, no statistics of the writing machine: the same rows give the same bytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist(rows, schema=schema), file, compression="zstd")


def write_licenses(cache: Path, bundled: Path) -> None:
    """The licence of each source, as its package carries it or else as SPDX prints it."""
    spdx = unpack("spdx-license-list", cache) / "licenses"
    folder = bundled / "LICENSES"
    folder.mkdir(parents=True, exist_ok=True)
    for name, source in LICENSE_FILES.items():
        if source.startswith("spdx:"):
            text = json.loads((spdx / f"{source[5:]}.json").read_text("utf-8"))["licenseText"]
        elif source.startswith("mit:"):
            text = mit(source[4:])
        else:
            package, path = source.split(":")
            text = (unpack(package, cache) / path).read_text("utf-8")
        (folder / name).write_text(text.rstrip() + "\n", "utf-8")
    (bundled / "NOTICE.md").write_text(NOTICE, "utf-8")


def write_sums(bundled: Path = BUNDLED) -> None:
    """``SHA256SUMS`` over every bundled file but Python code, in the format of ``sha256sum``."""
    files = sorted(
        file
        for file in bundled.rglob("*")
        if file.is_file() and file.suffix not in {".py", ".pyc", ".tmp"} and file.name != "SHA256SUMS"
    )
    lines = (
        f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.relative_to(bundled).as_posix()}\n"
        for file in files
    )
    aside = bundled / "SHA256SUMS.tmp"
    aside.write_text("".join(lines), "utf-8")
    aside.replace(bundled / "SHA256SUMS")


def build(options: argparse.Namespace, cache: Path) -> None:
    """Fetch, join, split, render and write everything."""
    import pyarrow as pa

    bundled, out = options.out, options.out / "emoji"
    out.mkdir(parents=True, exist_ok=True)
    sources = read_sources(cache)
    found = read_concepts(cache)
    common = [c for c in found.values() if all(c["codepoints"] in s for s in sources.values())]
    if len(common) < 1500:
        have = {style: len(found.keys() & pictures.keys()) for style, pictures in sources.items()}
        raise DataError(f"only {len(common)} emoji exist in all styles ({have}): check the pins")
    concepts = sorted(common, key=lambda concept: concept["order"])
    split(concepts, options.seed)
    text = pa.string()
    columns = ["codepoints", "emoji", "name", "keywords", "group", "subgroup", "pretraining", "family"]
    schema = pa.schema([(c, pa.list_(text) if c == "keywords" else text) for c in columns])
    write_parquet([{c: k[c] for c in columns} for k in concepts], schema, out / "concepts.parquet")

    schema = pa.schema([("style", text), ("codepoints", text), ("image", pa.binary())])
    files = {"images.parquet": FREE_STYLES, "images-openmoji.parquet": SHARE_ALIKE_STYLES}
    with ProcessPoolExecutor(options.workers) as pool:
        for file, styles in files.items():
            keys = [(style, c["codepoints"]) for style in styles for c in concepts]
            jobs = [(sources[style][key], options.size, options.quality) for style, key in keys]
            images = pool.map(render, jobs, chunksize=64)
            rows = [
                {"style": style, "codepoints": key, "image": image}
                for (style, key), image in zip(keys, images, strict=True)
            ]
            write_parquet(rows, schema, out / file)
            print(f"{file}: {len(rows)} images, {(out / file).stat().st_size / 1e6:.2f} MB")
    write_licenses(cache, bundled)
    write_sums(bundled)
    parts = [c["pretraining"] for c in concepts]
    print(f"{len(concepts)} emoji:", {p: parts.count(p) for p in ("train", "val", "test")})


def main() -> int:
    """Read the command line and build; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=BUNDLED, help="the bundled folder to fill")
    parser.add_argument("--cache", type=Path, help="folder to keep the npm packages in")
    parser.add_argument("--size", type=int, default=48, help="side of the pictures in pixels")
    parser.add_argument("--quality", type=int, default=80, help="WebP quality, 0 to 100")
    parser.add_argument("--seed", type=int, default=0, help="seed of the train/val/test hash")
    parser.add_argument("--workers", type=int, default=2, help="processes that render")
    options = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory() as temporary:
            cache = options.cache or Path(temporary)
            cache.mkdir(parents=True, exist_ok=True)
            build(options, cache)
    except ModuleNotFoundError as error:
        print(f"make_emoji_data: {error.name} is not installed: pip install -e '.[dev]'", file=sys.stderr)
        return 1
    except DataError as error:
        print(f"make_emoji_data: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
