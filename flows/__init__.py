"""The product's five business events as Prefect flows: ingest, nightly, update_heads, promote, batch_score.

A flow schedules, retries and reports; what is done stands in `hydra_ml.jobs`, the order of stages in `dvc.yaml`.
"""
