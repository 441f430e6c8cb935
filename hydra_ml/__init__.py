"""hydra_ml: personalize a black-box LLM with a shared base and one small head per user (HYDRA, arXiv 2406.02888)."""
