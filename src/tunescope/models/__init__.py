"""Loading, the `ModelMap` with one file per family, the attention seam, heads, position embeddings."""
