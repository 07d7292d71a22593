"""What classifiers share: scores of confidence, answers made of logits, checks of their routes."""
