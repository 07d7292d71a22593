"""Vision-language models of Hugging Face transformers, with fewer visual tokens."""
