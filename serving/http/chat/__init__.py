"""Chats in OpenAI's shape: `POST /v1/chat/completions`, streamed or not, and `GET /v1/models`."""
