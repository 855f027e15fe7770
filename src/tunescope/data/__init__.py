"""Images or texts with labels and captions, shifts, prompts, splits; one file per source."""
