"""The notice and the licence texts that go with the bundled emoji data and model."""

# File in LICENSES/ -> where its text comes from: `spdx:ID`, `mit:COPYRIGHT`, or `package:path`.
LICENSE_FILES = {
    "Apache-2.0.txt": "spdx:Apache-2.0",
    "CC-BY-4.0.txt": "spdx:CC-BY-4.0",
    "CC-BY-SA-4.0.txt": "openmoji:LICENSE.txt",
    "MIT-microsoft-fluent-emoji.txt": "mit:Copyright (c) Microsoft Corporation.",
    "MIT-lobehub-fluent-emoji-3d.txt": "mit:Copyright (c) LobeHub",
    "MIT-emojibase.txt": "emojibase-data:LICENSE",
    "Unicode-3.0.txt": "spdx:Unicode-3.0",
}

NOTICE = """\
# Where the bundled data and model come from

The pictures are the work of others, reduced to 48 pixels and laid on white; nothing else was
changed. The texts of the licences are in `LICENSES/`.

| what | source | copyright | licence | text |
|---|---|---|---|---|
| style `noto` in `emoji/images.parquet` | Noto Emoji (github.com/googlefonts/noto-emoji), \
npm `@iconify-json/noto` 1.2.9 | Google Inc. | Apache-2.0 | `Apache-2.0.txt` |
| style `twemoji` in `emoji/images.parquet` | Twemoji (github.com/jdecked/twemoji), \
npm `@iconify-json/twemoji` 1.2.5 | Twitter, Inc. and other contributors | CC BY 4.0 | \
`CC-BY-4.0.txt` |
| style `fluent-3d` in `emoji/images.parquet` | Fluent Emoji (github.com/microsoft/fluentui-emoji), \
npm `@lobehub/fluent-emoji-3d` 1.1.0 | Microsoft Corporation; packaging LobeHub | MIT | \
`MIT-microsoft-fluent-emoji.txt`, `MIT-lobehub-fluent-emoji-3d.txt` |
| style `fluent-flat` in `emoji/images.parquet` | Fluent Emoji, \
npm `@iconify-json/fluent-emoji-flat` 1.2.6 | Microsoft Corporation | MIT | \
`MIT-microsoft-fluent-emoji.txt` |
| styles `openmoji` and `openmoji-line`, all of `emoji/images-openmoji.parquet` | OpenMoji \
(openmoji.org), npm `openmoji` 17.0.0 | OpenMoji, HfG Schwaebisch Gmuend | CC BY-SA 4.0 | \
`CC-BY-SA-4.0.txt` |
| names, keywords, groups in `emoji/concepts.parquet` | emojibase, npm `emojibase-data` 17.0.0, \
built on the Unicode CLDR | Miles Johnson; Unicode, Inc. | MIT; Unicode-3.0 | \
`MIT-emojibase.txt`, `Unicode-3.0.txt` |
| `emoji-clip/` | made by `tools/pretrain_emoji_clip.py` | the tunescope authors | Apache-2.0 | \
`Apache-2.0.txt` |

`images-openmoji.parquet` is adapted material under CC BY-SA 4.0 and is kept in a file of its own:
whoever passes it on changed must keep that licence. All emojis of those two styles are designed by
OpenMoji, the open-source emoji and icon project. No picture of OpenMoji was used to train
`emoji-clip`.

`emoji-clip` was trained on `noto`, `twemoji` and `fluent-3d`, and on drawings that are not bundled:
Noto Emoji's first generation (Google Inc., Apache-2.0), EmojiOne 2 in colour and in monotone
(EmojiOne, CC BY 4.0), Streamline Emojis, Kameleon Color and Ultimate Color (Streamline, CC BY 4.0),
Game Icons (game-icons.net, its authors, CC BY 3.0), Phosphor (Phosphor Icons, MIT) and Flat Color
Icons (Icons8, MIT). Its text tower learned from all-MiniLM-L6-v2 (Apache-2.0), which is not bundled.

Twemoji: graphics by Twitter, Inc. and other contributors, licensed under CC BY 4.0
(creativecommons.org/licenses/by/4.0).
"""

_MIT = """\
MIT License

{copyright}

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and
associated documentation files (the "Software"), to deal in the Software without restriction,
including without limitation the rights to use, copy, modify, merge, publish, distribute,
sublicense, and/or sell copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial
portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT
NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND
NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES
OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN
CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""


def mit(copyright_line: str) -> str:
    """The MIT licence under one copyright line."""
    return _MIT.format(copyright=copyright_line)
