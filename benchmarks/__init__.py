"""What is measured, against which baseline, and how: processes, traffic, results and reports."""
