"""Training of the networks to compare, with and without sharpness-aware minimisation."""
