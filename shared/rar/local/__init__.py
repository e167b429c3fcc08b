"""Local models for the demo, the tests and whoever wants a private weak model."""
