"""Latent adversarial distillation (LADD) of the h-space adapter and the decoder's LoRA: ImageRAGTurbo, section 3."""
