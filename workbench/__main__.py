"""`python -m workbench` is the batch command."""

from workbench.cli import main

if __name__ == "__main__":
    main()
