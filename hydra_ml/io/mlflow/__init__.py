"""Runs, registered models and releases in MLflow."""
