"""What tests, benchmarks and the demo start servers with, load them and write down figures."""
