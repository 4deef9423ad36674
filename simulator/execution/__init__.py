"""From kernel times to a step, its memory footprint, and a run over a dataset."""
