"""DistilBERT (Sanh et al. 2019): BERT's blocks under other names, without token types."""

from transformers import PreTrainedModel

from tunescope.models.modelmap import Block, ModelMap, Tower


def build(model: PreTrainedModel) -> ModelMap:
    """The map of a `DistilBertModel`."""
    config = model.config
    blocks = tuple(
        Block(
            path=f"transformer.layer.{i}",
            attention=f"transformer.layer.{i}.attention",
            q=f"transformer.layer.{i}.attention.q_lin",
            k=f"transformer.layer.{i}.attention.k_lin",
            v=f"transformer.layer.{i}.attention.v_lin",
            o=f"transformer.layer.{i}.attention.out_lin",
            fc1=f"transformer.layer.{i}.ffn.lin1",
            fc2=f"transformer.layer.{i}.ffn.lin2",
            norm1=f"transformer.layer.{i}.sa_layer_norm",
            norm2=f"transformer.layer.{i}.output_layer_norm",
        )
        for i in range(config.n_layers)
    )
    tower = Tower(
        name="text",
        path="",
        blocks=blocks,
        heads=config.n_heads,
        head_dim=config.dim // config.n_heads,
        prefix_tokens=0,
        pooling="cls",
        embeddings="embeddings",
        positions="embeddings.position_embeddings",
        feature_dim=config.dim,
        words="embeddings.word_embeddings",
        max_tokens=config.max_position_embeddings,
    )
    return ModelMap("distilbert", {"text": tower})
