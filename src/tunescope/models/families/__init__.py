"""One file per family: `build(model) -> ModelMap`."""

# config.model_type → who builds the map
FAMILIES = {
    "clip": "tunescope.models.families.clip:build",
    "clip_vision_model": "tunescope.models.families.clip:build",
    "dinov2": "tunescope.models.families.dinov2:build",
    "dinov2_with_registers": "tunescope.models.families.dinov2:build",
    "siglip": "tunescope.models.families.siglip:build",
    "siglip_vision_model": "tunescope.models.families.siglip:build",
    "vit": "tunescope.models.families.vit:build",
}
