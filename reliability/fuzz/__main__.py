"""`python -m reliability.fuzz`."""

from reliability.fuzz.run import main

main()
