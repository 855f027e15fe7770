"""Flower's clipping of what a client sends, switched by what the server asks for."""

from tunescope.federated.flower import (
    ClientAppCallable,
    Context,
    Message,
    adaptiveclipping_mod,
    fixedclipping_mod,
)

CLIPPING = "clipping"  # in what clients are told: by which mod
FILL = "send-all"  # clients send back all that they were sent, trained or not
MODS = {"fixed": fixedclipping_mod, "adaptive": adaptiveclipping_mod}


def clip(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
    """Scale a client's step down to the norm that the server names, where it asks for that.

    Δ ← Δ·min(1, C / ‖Δ‖₂) over all arrays together. Flower's mods compare the arrays sent with those sent
    back one by one, so that clients send all of them.

    Source: McMahan et al. 2018 (arXiv 1710.06963), FlatClip; the adaptive norm: Andrew et al. 2021 (arXiv
    1905.03871).
    """
    for config in message.content.config_records.values():
        if CLIPPING in config:
            return MODS[str(config[CLIPPING])](message, context, call_next)
    return call_next(message, context)
