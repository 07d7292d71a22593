"""Thresholds and gates, chosen on held-out pictures from the nets' logits."""
