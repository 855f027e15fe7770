"""CLIP: a vision tower read by [CLS], a text tower read by [EOS], one joint space (Radford et al. 2021)."""

from transformers import CLIPModel, CLIPVisionModelWithProjection, PreTrainedModel

from tunescope.models.modelmap import Block, ModelMap, Output, Tower, grid


def build(model: PreTrainedModel) -> ModelMap:
    """The map of a `CLIPModel`, a `CLIPVisionModel` or one of these with its projection."""
    config, projected = model.config, ("visual_projection",)
    if isinstance(model, CLIPModel):
        size = model.visual_projection.out_features
        vision = _vision(config.vision_config, "vision_model", size, projected, "image_embeds")
        return ModelMap("clip", {"vision": vision, "text": _text(config)})
    if isinstance(model, CLIPVisionModelWithProjection):
        size = model.visual_projection.out_features
        return ModelMap("clip", {"vision": _vision(config, "vision_model", size, projected, "image_embeds")})
    return ModelMap("clip", {"vision": _vision(config, "", config.hidden_size, (), "pooler_output")})


def _vision(config, path: str, feature_dim: int, projection: tuple[str, ...], output: Output) -> Tower:
    dot = f"{path}." if path else ""
    return Tower(
        name="vision",
        path=path,
        blocks=blocks(dot, config.num_hidden_layers),
        heads=config.num_attention_heads,
        head_dim=config.hidden_size // config.num_attention_heads,
        prefix_tokens=1,
        pooling="cls",
        embeddings=f"{dot}embeddings",
        final=(f"{dot}post_layernorm", *projection),
        grid=grid(config),
        patch_size=config.patch_size,
        image_size=config.image_size,
        positions=f"{dot}embeddings.position_embedding",
        feature_dim=feature_dim,
        output=output,
    )


def _text(config) -> Tower:
    text = config.text_config
    return Tower(
        name="text",
        path="text_model",
        blocks=blocks("text_model.", text.num_hidden_layers),
        heads=text.num_attention_heads,
        head_dim=text.hidden_size // text.num_attention_heads,
        prefix_tokens=0,
        pooling="eos",
        embeddings="text_model.embeddings",
        final=("text_model.final_layer_norm", "text_projection"),
        positions="text_model.embeddings.position_embedding",
        feature_dim=config.projection_dim,
        words="text_model.embeddings.token_embedding",
        max_tokens=text.max_position_embeddings,
    )


def blocks(dot: str, count: int) -> tuple[Block, ...]:
    """CLIP's block, which SigLIP shares; `dot` is the tower's path with its dot."""
    return tuple(
        Block(
            path=f"{dot}encoder.layers.{i}",
            attention=f"{dot}encoder.layers.{i}.self_attn",
            q=f"{dot}encoder.layers.{i}.self_attn.q_proj",
            k=f"{dot}encoder.layers.{i}.self_attn.k_proj",
            v=f"{dot}encoder.layers.{i}.self_attn.v_proj",
            o=f"{dot}encoder.layers.{i}.self_attn.out_proj",
            fc1=f"{dot}encoder.layers.{i}.mlp.fc1",
            fc2=f"{dot}encoder.layers.{i}.mlp.fc2",
            norm1=f"{dot}encoder.layers.{i}.layer_norm1",
            norm2=f"{dot}encoder.layers.{i}.layer_norm2",
        )
        for i in range(count)
    )
