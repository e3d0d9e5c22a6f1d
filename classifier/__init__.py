"""The model: what `train` makes and `serve` runs, so that both see a photograph in the same way."""
