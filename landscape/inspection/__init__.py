"""Looking inside: active neurons."""

from landscape.inspection.neurons import ActiveNeurons, active_neurons

__all__ = ["ActiveNeurons", "active_neurons"]
