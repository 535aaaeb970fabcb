"""Vision Transformers, MLP-Mixers and ResNets, and the registry of their names."""
