"""`python -m rar.cli`, where the script `rar` is not on the path."""

from rar.cli import main

main()
