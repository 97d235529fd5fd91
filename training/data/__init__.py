"""The emoji world: scenes of Noto Color Emoji with captions, drawn from a seed."""
