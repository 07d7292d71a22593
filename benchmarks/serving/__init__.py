"""What serving costs beside bare servers; cases that other benchmarks use too."""
