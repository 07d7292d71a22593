"""A vision-language model that drops visual tokens: its answers, its times, and its server."""
