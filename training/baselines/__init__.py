"""What the paper compares itself with, trained in this world: a latent consistency model and an RDM."""
