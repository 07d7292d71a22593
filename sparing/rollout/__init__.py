"""`sparing rollout`: two versions of a route compared, and the share of callers changed."""
