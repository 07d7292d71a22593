"""What is measured, against which baseline, and the reports: one folder a subject."""
