"""SigLIP (Zhai et al. 2023): vision is read by an attention pooling head, text by its last token."""

from transformers import PreTrainedModel, SiglipModel

from tunescope.errors import ModelError
from tunescope.models.families.clip import blocks
from tunescope.models.modelmap import ModelMap, Tower, grid


def build(model: PreTrainedModel) -> ModelMap:
    """The map of a `SiglipModel` or a `SiglipVisionModel`.

    Raises:
        ModelError: a vision tower without its pooling head, which is what it would be read by.
    """
    if isinstance(model, SiglipModel):
        vision = _vision(model.config.vision_config, "vision_model")
        return ModelMap("siglip", {"vision": vision, "text": _text(model.config.text_config)})
    return ModelMap("siglip", {"vision": _vision(model.config, "")})


def _vision(config, path: str) -> Tower:
    dot = f"{path}." if path else ""
    if not getattr(config, "vision_use_head", True):
        raise ModelError("config.json: vision_use_head is false, expected true: without it nothing is pooled")
    return Tower(
        name="vision",
        path=path,
        blocks=blocks(dot, config.num_hidden_layers),
        heads=config.num_attention_heads,
        head_dim=config.hidden_size // config.num_attention_heads,
        prefix_tokens=0,
        pooling="probe",
        embeddings=f"{dot}embeddings",
        final=(f"{dot}post_layernorm", f"{dot}head"),
        grid=grid(config),
        patch_size=config.patch_size,
        image_size=config.image_size,
        positions=f"{dot}embeddings.position_embedding",
        pooler=f"{dot}head.attention",
        feature_dim=config.hidden_size,
        output="pooler_output",
    )


def _text(config) -> Tower:
    return Tower(
        name="text",
        path="text_model",
        blocks=blocks("text_model.", config.num_hidden_layers),
        heads=config.num_attention_heads,
        head_dim=config.hidden_size // config.num_attention_heads,
        prefix_tokens=0,
        pooling="last",
        embeddings="text_model.embeddings",
        final=("text_model.final_layer_norm", "text_model.head"),
        positions="text_model.embeddings.position_embedding",
        feature_dim=config.projection_size,
        words="text_model.embeddings.token_embedding",
        max_tokens=config.max_position_embeddings,
    )
