"""`python -m bench`, where another `bench` is on the PATH."""

from bench.cli import main

main()
