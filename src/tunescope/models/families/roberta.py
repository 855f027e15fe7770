"""RoBERTa (Liu et al. 2019): BERT's architecture; positions count from behind the padding's index."""

from transformers import PreTrainedModel

from tunescope.models.families.bert import text
from tunescope.models.modelmap import ModelMap


def build(model: PreTrainedModel) -> ModelMap:
    """The map of a `RobertaModel`: of 514 positions, 0 … padding_idx are no token's, and 512 are left."""
    config = model.config
    assert isinstance(config.pad_token_id, int)
    return ModelMap(
        "roberta", {"text": text(config, config.max_position_embeddings - config.pad_token_id - 1)}
    )
