"""What a penalty keeps of the base model for every training example: bounded."""

from tunescope.errors import MethodError

LIMIT = 2 * 2**30  # bytes, of one penalty


def check_kept(kind: str, size: int, examples: int, instead: str) -> None:
    """Refuse to keep more than `LIMIT` bytes, before they are computed.

    Args:
        kind: of the penalty, for the message.
        size: bytes of one example.
        examples: how many.
        instead: what takes less.

    Raises:
        MethodError: it would be more.

    >>> check_kept("attention_kl", 2**20, 4096, "take fewer examples")
    Traceback (most recent call last):
    tunescope.errors.MethodError: penalty attention_kl: what it keeps of the base model for 4096 examples \
would take 4 GiB, more than the limit of 2 GiB; take fewer examples
    """
    needed = size * examples
    if needed > LIMIT:
        raise MethodError(
            f"penalty {kind}: what it keeps of the base model for {examples} examples would take "
            f"{needed / 2**30:.4g} GiB, more than the limit of {LIMIT / 2**30:.4g} GiB; {instead}"
        )
