"""The `hydra-ml` command; one module per family of verbs. Nothing heavy is imported before a verb needs it."""

from hydra_ml.cli.main import app, main

__all__ = ["app", "main"]
