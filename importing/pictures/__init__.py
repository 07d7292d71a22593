"""From a decoded picture to what a model was trained on."""
