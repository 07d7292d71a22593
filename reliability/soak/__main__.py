"""`python -m reliability.soak`."""

from reliability.soak.run import main

main()
