"""One module per stage of `dvc.yaml`: each joins the core to files and is run as `python -m hydra_ml.stages.<name>`."""
