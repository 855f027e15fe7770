"""Which of the tensors that peft trains the tuned weights are linear in."""

from typing import TYPE_CHECKING, NamedTuple

from tunescope.errors import MethodError

if TYPE_CHECKING:
    from peft import PeftModel


class LinearFactor(NamedTuple):
    """A factor of a method's change: with the others held, the tuned weight is linear in it.

    Args:
        names: of the factor's tensors in peft, one for every target.
        base: the value of all its entries where the weight is the base model's.
    """

    names: tuple[str, ...]
    base: float = 0.0


# By peft's type. W = W₀ + (a product): any one factor would serve; it is the one that starts at zero.
FACTORS = {
    "LORA": LinearFactor(("lora_B",)),  # W₀ + s·B·A
    "ADALORA": LinearFactor(("lora_E",)),  # W₀ + s·P·Λ·Q
    "VERA": LinearFactor(("vera_lambda_b",)),  # W₀ + Λ_b·B·Λ_d·A
    "LOHA": LinearFactor(("hada_w2_b",)),  # W₀ + s·(B₁·A₁) ⊙ (B₂·A₂)
    "LOKR": LinearFactor(("lokr_w1", "lokr_w1_a")),  # W₀ + s·C ⊗ (B·A), C itself a product at times
    "FOURIERFT": LinearFactor(("fourierft_spectrum",)),  # W₀ + α·Re(IDFT₂(F))
    "IA3": LinearFactor(("ia3_l",), base=1.0),  # diag(l)·W₀
}
CURVED = {
    "OFT": "it turns the weights by a Cayley transform of what it trains",
    "HRA": "it multiplies the weights by reflections, which are quadratic in what it trains",
}
INSTEAD = "tune with full or lora, or leave the tuned weights as they are"


def linear_factor(peft: "PeftModel", replaced: bool) -> LinearFactor:
    """The factor of the adapter's change that leads from the base model to the tuned one in a straight line.

    Args:
        peft: peft's view of the model.
        replaced: whether the method has changed the weights below its layers.

    Raises:
        MethodError: there is none, with the reason.
    """
    said = peft.peft_config["default"]
    kind = str(getattr(said.peft_type, "value", said.peft_type))
    if getattr(said, "use_dora", False):
        reason = "dora divides by the norm of W₀ + B·A, so the weights are not linear in anything it trains"
    elif any(getattr(module, "lora_variant", None) for module in peft.modules()):
        reason = "a variant of lora, whose weights are not W₀ + B·A"
    elif replaced:
        reason = (
            "its base weights hold a residual (pissa), so that the change between the two ends is of rank 2r "
            "and cannot be saved as its A and B"
        )
    elif kind not in FACTORS:
        unknown = "the weights are not known to be linear in what it trains"
        reason = f"{kind.lower()}: {CURVED.get(kind, unknown)}"
    else:
        return FACTORS[kind]
    raise MethodError(f"no straight line from the base model to this one: {reason}; {INSTEAD}")
