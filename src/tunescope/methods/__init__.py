"""One file per way of tuning: what is trainable, and how it is installed, merged and saved."""
