"""Walking and shaking a model's weights: the path between two models, barriers, sharpness."""
