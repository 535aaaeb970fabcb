"""What other codebases call the parameters of a network, one codebase per module."""
