"""`python -m hydra_ml`, the same as `hydra-ml`."""

from hydra_ml.cli.main import main

if __name__ == "__main__":
    main()
