"""`python -m repghost`: the command line, where its script is not on the path."""

from repghost.cli import main

if __name__ == "__main__":
    main()
