"""ViT (Dosovitskiy et al. 2021): [CLS] after the final norm; a classifier or pooler is not part of it."""

from transformers import PreTrainedModel, ViTModel

from tunescope.models.modelmap import Block, ModelMap, Tower, grid


def build(model: PreTrainedModel) -> ModelMap:
    """The map of a `ViTModel`, or of the one inside a `ViTForImageClassification`."""
    config = model.config
    path = "" if isinstance(model, ViTModel) else "vit"
    dot = f"{path}." if path else ""
    blocks = tuple(
        Block(
            path=f"{dot}layers.{i}",
            attention=f"{dot}layers.{i}.attention",
            q=f"{dot}layers.{i}.attention.q_proj",
            k=f"{dot}layers.{i}.attention.k_proj",
            v=f"{dot}layers.{i}.attention.v_proj",
            o=f"{dot}layers.{i}.attention.o_proj",
            fc1=f"{dot}layers.{i}.mlp.fc1",
            fc2=f"{dot}layers.{i}.mlp.fc2",
            norm1=f"{dot}layers.{i}.layernorm_before",
            norm2=f"{dot}layers.{i}.layernorm_after",
        )
        for i in range(config.num_hidden_layers)
    )
    tower = Tower(
        name="vision",
        path=path,
        blocks=blocks,
        heads=config.num_attention_heads,
        head_dim=config.hidden_size // config.num_attention_heads,
        prefix_tokens=1,
        pooling="cls",
        embeddings=f"{dot}embeddings",
        final=(f"{dot}layernorm",),
        grid=grid(config),
        patch_size=config.patch_size,
        image_size=config.image_size,
        positions=f"{dot}embeddings.position_embeddings",
        feature_dim=config.hidden_size,
    )
    return ModelMap("vit", {"vision": tower})
