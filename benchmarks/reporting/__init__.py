"""What every report shares: targets, tables, plots and the generated part of a page."""
