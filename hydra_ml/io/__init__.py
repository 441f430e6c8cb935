"""The only part of hydra_ml that touches the world: files, caches, environment, and the services around us."""
