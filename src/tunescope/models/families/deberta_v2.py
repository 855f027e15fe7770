"""DeBERTa v2 and v3 (He et al. 2021): disentangled attention over contents and relative positions.

Every block's attention also reads one table of relative positions, `encoder.rel_embeddings`, by its own
projections or, in v3, by those of its queries and keys. The table belongs to the tower and to no block.
"""

from transformers import PreTrainedModel

from tunescope.models.families.bert import blocks
from tunescope.models.modelmap import ModelMap, Tower


def build(model: PreTrainedModel) -> ModelMap:
    """The map of a `DebertaV2Model`; `positions` is None where positions are relative alone."""
    config = model.config
    tower = Tower(
        name="text",
        path="",
        blocks=blocks(config.num_hidden_layers, "query_proj", "key_proj", "value_proj"),
        heads=config.num_attention_heads,
        head_dim=config.hidden_size // config.num_attention_heads,
        prefix_tokens=0,
        pooling="cls",
        embeddings="embeddings",
        positions="embeddings.position_embeddings" if config.position_biased_input else None,
        feature_dim=config.hidden_size,
        words="embeddings.word_embeddings",
        max_tokens=config.max_position_embeddings,
    )
    return ModelMap("deberta-v2", {"text": tower})
