"""Trained models from elsewhere: what they are, what they need, and the routes made of them."""
