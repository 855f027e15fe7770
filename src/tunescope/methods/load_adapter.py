"""An adapter made by plain peft, put on an encoder."""

import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from tunescope.errors import MethodError
from tunescope.methods.peft_adapter import InstalledPeft, installed, plain_layers

if TYPE_CHECKING:
    from tunescope.models.encoder import Encoder

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
# Settings of peft that train something beside the adapter's layers, or import what a file names.
UNWANTED = ("modules_to_save", "megatron_config", "trainable_token_indices", "target_parameters")


def load_adapter(encoder: "Encoder", folder: str | Path) -> InstalledPeft:
    """Put a saved peft adapter on an encoder: it can be measured, trained on, taken off and merged.

    The tower is the one that holds the adapter's layers; the first of the model's, where both do.

    Args:
        encoder: a freshly loaded encoder of the model that the adapter was made for.
        folder: with `adapter_config.json` and `adapter_model.safetensors`, as `save_pretrained` writes them.

    Raises:
        MethodError: no adapter is there, its weights are pickled, it is none that peft injects into linear
            layers, or it does not fit the model. The encoder is a plain one then, as it was.
    """
    from peft import PeftConfig, PeftModel
    from peft.tuners.tuners_utils import check_target_module_exists
    from torch import nn

    folder = Path(folder)
    _check_files(folder)
    said = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    _check_settings(said, folder)
    try:
        config = PeftConfig.from_pretrained(str(folder))
    except (KeyError, TypeError, ValueError) as error:
        raise MethodError(f"{folder / CONFIG}: not settings that peft can read ({error})") from None
    paths = [
        path
        for path, module in encoder.model.named_modules()
        if isinstance(module, nn.Linear) and check_target_module_exists(config, path)
    ]
    plain_layers(encoder, paths, str(folder))
    towers = [name for name in encoder.map.towers if any(_inside(encoder, name, path) for path in paths)]
    if not towers:
        raise MethodError(
            f"{folder}: the adapter's target_modules ({said.get('target_modules')}) name no linear layer "
            f"of a tower of {encoder.name}; it was made for another model"
        )
    config.inference_mode = False

    def inject() -> PeftModel:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", "Found missing adapter keys")
            return PeftModel.from_pretrained(encoder.model, str(folder), config=config, is_trainable=True)

    before = {path: encoder.model.get_submodule(path) for path in paths}
    weights = {path: layer.weight.detach().clone() for path, layer in before.items()}
    try:
        return installed(encoder, towers[0], paths, inject)
    except (AttributeError, KeyError, RuntimeError, TypeError, UserWarning, ValueError) as error:
        for path, layer in before.items():
            layer.weight.data = weights[path]
            encoder.model.set_submodule(path, layer)
        if hasattr(encoder.model, "peft_config"):
            del encoder.model.peft_config
        reason = " ".join(str(error).split())[:300]
        raise MethodError(
            f"{folder / WEIGHTS} does not fit {encoder.name}: {reason}; take the model that the adapter was "
            "made for"
        ) from None


def _check_files(folder: Path) -> None:
    if not (folder / CONFIG).is_file():
        raise MethodError(f"{folder}: no peft adapter there ({CONFIG} is missing)")
    if not (folder / WEIGHTS).is_file():
        pickled = (folder / "adapter_model.bin").is_file()
        raise MethodError(
            f"{folder}: its weights are pickled (adapter_model.bin), and reading a pickle can run any code; "
            "where you trust it, load it with peft and save it again with save_pretrained()"
            if pickled
            else f"{folder}: {WEIGHTS} is missing"
        )


def _check_settings(said: dict, folder: Path) -> None:
    from peft.mapping import PEFT_TYPE_TO_TUNER_MAPPING
    from peft.tuners.tuners_utils import BaseTuner

    kind = said.get("peft_type")
    tuners = {str(known.value): tuner for known, tuner in PEFT_TYPE_TO_TUNER_MAPPING.items()}
    if kind not in tuners or not issubclass(tuners[kind], BaseTuner):
        raise MethodError(f"{folder}: peft_type={kind!r} is none that peft injects into weights")
    for name in UNWANTED:
        if said.get(name):
            raise MethodError(
                f"{folder}: {name}={said[name]!r}: the adapter changes more than linear layers of the "
                "encoder; merge it with peft and load the merged model"
            )
    if said.get("bias", "none") != "none":
        raise MethodError(
            f"{folder}: bias={said['bias']!r}: the biases that were trained with the adapter could not be "
            "taken off; merge it with peft and load the merged model"
        )


def _inside(encoder: "Encoder", tower: str, path: str) -> bool:
    found = encoder.map.tower(tower)
    return any(top in ("", path) or path.startswith(f"{top}.") for top in (found.path, *found.final))
