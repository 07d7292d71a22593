"""Floor 0: nouns, verbs, errors, confidence scores, runtimes and model files. Imports nothing of
ours.
"""
