"""One file per family: `build(model) -> ModelMap`."""

# config.model_type → who builds the map
FAMILIES = {
    "bert": "tunescope.models.families.bert:build",
    "clip": "tunescope.models.families.clip:build",
    "clip_vision_model": "tunescope.models.families.clip:build",
    "deberta-v2": "tunescope.models.families.deberta_v2:build",
    "dinov2": "tunescope.models.families.dinov2:build",
    "dinov2_with_registers": "tunescope.models.families.dinov2:build",
    "distilbert": "tunescope.models.families.distilbert:build",
    "modernbert": "tunescope.models.families.modernbert:build",
    "roberta": "tunescope.models.families.roberta:build",
    "siglip": "tunescope.models.families.siglip:build",
    "siglip_vision_model": "tunescope.models.families.siglip:build",
    "vit": "tunescope.models.families.vit:build",
}
TEXT_ALONE = frozenset({"bert", "deberta-v2", "distilbert", "modernbert", "roberta"})  # no vision tower
