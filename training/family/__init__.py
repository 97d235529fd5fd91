"""Trains a base family: autoencoder, text tower, teacher, and the one-step student distilled from it."""
