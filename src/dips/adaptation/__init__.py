"""``dips adapt``: DINO's self-distillation continued on one's own unlabelled photos, from the weights of any ViT."""
