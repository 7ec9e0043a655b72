"""Attacks on our own trainings: what a curious coordinator, or anyone with the model, could find out."""
