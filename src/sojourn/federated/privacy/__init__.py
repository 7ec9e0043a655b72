"""Patient-level differential privacy: clipped and noised steps, what they cost, and a ledger that keeps count."""
