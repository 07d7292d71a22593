"""Vision-language models whose decoder may drop visual tokens between its layers."""
