"""DINOv2 (Oquab et al. 2023), also with registers (Darcet et al. 2023): [CLS] after the final norm."""

from transformers import PreTrainedModel

from tunescope.models.modelmap import Block, ModelMap, Tower, grid


def build(model: PreTrainedModel) -> ModelMap:
    """The map of a `Dinov2Model` or a `Dinov2WithRegistersModel`.

    Registers stand between [CLS] and the patches: `prefix_tokens` is 1 + registers.
    """
    config = model.config
    blocks = tuple(_block(i, config.use_swiglu_ffn) for i in range(config.num_hidden_layers))
    tower = Tower(
        name="vision",
        path="",
        blocks=blocks,
        heads=config.num_attention_heads,
        head_dim=config.hidden_size // config.num_attention_heads,
        prefix_tokens=1 + getattr(config, "num_register_tokens", 0),
        pooling="cls",
        embeddings="embeddings",
        final=("layernorm",),
        grid=grid(config),
        patch_size=config.patch_size,
        image_size=config.image_size,
        positions="embeddings.position_embeddings",
        feature_dim=config.hidden_size,
        interpolates=True,
    )
    return ModelMap(config.model_type, {"vision": tower})


def _block(i: int, gated: bool) -> Block:
    layer = f"encoder.layer.{i}"
    fc1, fc2 = ("up_proj", "down_proj") if gated else ("fc1", "fc2")
    return Block(
        path=layer,
        attention=f"{layer}.attention",
        q=f"{layer}.attention.q_proj",
        k=f"{layer}.attention.k_proj",
        v=f"{layer}.attention.v_proj",
        o=f"{layer}.attention.o_proj",
        fc1=f"{layer}.mlp.{fc1}",
        fc2=f"{layer}.mlp.{fc2}",
        norm1=f"{layer}.norm1",
        norm2=f"{layer}.norm2",
        gate=f"{layer}.mlp.gate_proj" if gated else None,
    )
