"""`python -m flawscope`: the same as the command `flawscope`."""

from flawscope.cli.main import main

if __name__ == "__main__":
    main()
