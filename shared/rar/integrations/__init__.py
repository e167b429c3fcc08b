"""Observers for other systems. Each module imports a library of its own, which an extra of the package brings."""
