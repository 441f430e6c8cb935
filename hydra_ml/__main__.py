"""`python -m hydra_ml`, the same as `hydra-ml`."""

from hydra_ml.cli import main

if __name__ == "__main__":
    main()
