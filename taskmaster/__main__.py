"""`python -m taskmaster` is the command `taskmaster`."""

from taskmaster.cli.main import main

if __name__ == "__main__":
    main()
