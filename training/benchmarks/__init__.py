"""The public benchmarks (TIFA v1.0, PartiPrompts, COCO) for any bundle or pictures, with the user's own models."""
