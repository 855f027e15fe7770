"""Bytes or a file → a decoded image, with errors that name the image."""

import io
import warnings
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from tunescope.errors import DataError


def decode(source: bytes | Path, where: str) -> Image.Image:
    """Decode one image completely, so that a truncated one is found here and not later.

    Args:
        source: the encoded bytes, or a file.
        where: the image's name, for the message.

    Raises:
        DataError: it is not an image, is broken, cannot be read, or is a decompression bomb.

    >>> decode(b"not an image", "cat/1.jpg")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    tunescope.errors.DataError: image 'cat/1.jpg' is not an image in a format that is known here; ...
    """
    fix = "replace or remove it, or set on_error: skip"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(source if isinstance(source, bytes) else source.read_bytes()))
            image.load()
        return image
    except UnidentifiedImageError:
        cause = "is not an image in a format that is known here"
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        cause = f"is larger than {Image.MAX_IMAGE_PIXELS:,} pixels, as decompression bombs are; scale it down"
    except (OSError, SyntaxError, ValueError) as error:  # what Pillow's decoders raise on broken files
        cause = f"is broken or cannot be read ({error})"
    raise DataError(f"image {where!r} {cause}; {fix}")
