"""Latent adversarial distillation (LADD) of h-space adapter and decoder LoRA (ImageRAGTurbo, section 3)."""
