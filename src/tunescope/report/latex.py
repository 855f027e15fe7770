r"""Text and tables for LaTeX: every text from data is inert, and pdflatex with utf8 can set it.

Every character that LaTeX reads as more than itself is written as what prints it; Greek letters and signs of
mathematics become mathematics; what no usual font has becomes its code point, so that nothing is lost.
"""

import re
import unicodedata
from collections.abc import Sequence

PREAMBLE = r"""% needs, in the preamble:
%   \usepackage[utf8]{inputenc}
%   \usepackage[T1]{fontenc}
%   \usepackage{textcomp,booktabs,longtable}
"""
ROWS_AT_MOST = 40  # of a table that fits a page; a longer one is a longtable

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "_": r"\_",
    "%": r"\%",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "'": r"\textquotesingle{}",
    "`": r"\textasciigrave{}",
    "[": "{[}",  # at the head of a row they would be read as options
    "]": "{]}",
    "*": "{*}",
    "−": "$-$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "·": r"$\cdot$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "≈": r"$\approx$",
    "≠": r"$\neq$",
    "→": r"$\rightarrow$",
    "∞": r"$\infty$",
    "√": r"$\surd$",
    "‖": r"$\Vert$",
    "²": "$^2$",
    "³": "$^3$",
    "…": r"\ldots{}",
    "–": "--",
    "—": "---",
    "‘": r"\textquoteleft{}",
    "’": r"\textquoteright{}",
    "“": r"\textquotedblleft{}",
    "”": r"\textquotedblright{}",
    "µ": r"$\mu$",
    "\N{LATIN SMALL LETTER DOTLESS I}": r"\i{}",
}
_GREEK = re.compile(
    "GREEK (SMALL|CAPITAL) LETTER ("
    "(?<=SMALL LETTER )(?:ALPHA|BETA|EPSILON|ZETA|ETA|IOTA|KAPPA|MU|NU|RHO|TAU|CHI)"
    "|GAMMA|DELTA|THETA|LAMDA|XI|PI|SIGMA|UPSILON|PHI|PSI|OMEGA)"
)
_LATIN = range(0xC0, 0x180)  # what inputenc's utf8 knows under T1, the signs × and ÷ aside


def escaped(text: str) -> str:
    r"""A text that LaTeX prints as it is, on one line.

    >>> escaped(r"a_b & 50%"), escaped("ρ = −0.3"), escaped("\\input{x}")
    ('a\\_b \\& 50\\%', '$\\rho$ = $-$0.3', '\\textbackslash{}input\\{x\\}')
    >>> escaped("é 字")
    'é \\texttt{U+5B57}'
    """
    line = " ".join(text.split())
    apart = (
        "{}" if now == before and now in "-," else "" for before, now in zip("x" + line, line, strict=False)
    )
    return "".join(
        gap + _printed(character) for gap, character in zip(apart, line, strict=True)
    )  # -- would join


def _printed(character: str) -> str:
    if character in _SPECIAL:
        return _SPECIAL[character]
    if greek := _GREEK.fullmatch(unicodedata.name(character, "")):
        letter = greek[2].replace("LAMDA", "LAMBDA")
        return f"$\\{letter.lower() if greek[1] == 'SMALL' else letter.capitalize()}$"
    if " " <= character <= "~" or (ord(character) in _LATIN and character not in "×÷"):
        return character
    plain = unicodedata.normalize("NFKD", character)
    if plain != character and all(" " <= part <= "~" for part in plain):
        return "".join(map(_printed, plain))
    return f"\\texttt{{U+{ord(character):04X}}}"


def tabular(columns: str, header: Sequence[str], rows: Sequence[Sequence[str]], notes: Sequence[str]) -> str:
    r"""A table in booktabs' look, of cells that are LaTeX already.

    Args:
        columns: how LaTeX sets each, such as `lrr`.
        header: their names.
        rows: of as many cells.
        notes: lines of comment above it.

    >>> print(tabular("lr", ["group", "n"], [["lora", "3"]], ["Runs."]).split("textcomp")[1])
    ,booktabs,longtable}
    % Runs.
    \begin{tabular}{lr}
    \toprule
    group & n \\
    \midrule
    lora & 3 \\
    \bottomrule
    \end{tabular}
    <BLANKLINE>
    """
    long = len(rows) > ROWS_AT_MOST
    kind = "longtable" if long else "tabular"
    lines = [
        f"\\begin{{{kind}}}{{{columns}}}",
        "\\toprule",
        _row(header),
        "\\midrule",
        *(["\\endhead"] if long else []),
        *(_row(row) for row in rows),
        "\\bottomrule",
        f"\\end{{{kind}}}",
    ]
    comments = [f"% {' '.join(note.split())}" for note in notes]
    return PREAMBLE + "\n".join([*comments, *lines]) + "\n"


def _row(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"
