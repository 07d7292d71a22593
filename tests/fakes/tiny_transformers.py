"""Small random models of transformers, and directories as their authors publish them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers as typed
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor

transformers: Any = typed  # its classes take many types
LAYERS = 4
SIZE = 16  # side of a picture
IMAGE = 60
TEXT = [5, 6, 7, 8, 9]
DECODER = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 64,
    "max_position_embeddings": 512,
    "pad_token_id": 0,
}
CLIP = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 16,
    "patch_size": 4,
    "projection_dim": 16,
}
Attention = str
Inputs = dict[str, Tensor]


def llava(attention: Attention) -> Any:
    config = transformers.LlavaConfig(
        vision_config=transformers.CLIPVisionConfig(**CLIP),
        text_config=transformers.LlamaConfig(**DECODER),
        image_token_index=IMAGE,
        image_token_id=IMAGE,
    )
    return build(transformers.LlavaForConditionalGeneration, config, attention)


def llava_next(attention: Attention) -> Any:
    config = transformers.LlavaNextConfig(
        vision_config=transformers.CLIPVisionConfig(**CLIP),
        text_config=transformers.MistralConfig(**DECODER, sliding_window=None),
        image_token_index=IMAGE,
        image_token_id=IMAGE,
        image_grid_pinpoints=[[16, 32], [32, 16]],
    )
    return build(transformers.LlavaNextForConditionalGeneration, config, attention)


def qwen(attention: Attention) -> Any:
    rope = {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [2, 1, 1]}
    config = transformers.Qwen2_5_VLConfig(
        vision_config={
            "depth": 2,
            "hidden_size": 16,
            "intermediate_size": 24,
            "num_heads": 2,
            "out_hidden_size": 32,
            "patch_size": 4,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "window_size": 16,
            "fullatt_block_indexes": [1],
        },
        text_config={**DECODER, "rope_parameters": rope, "use_sliding_window": False},
        image_token_id=IMAGE,
        vision_start_token_id=61,
        vision_end_token_id=62,
        video_token_id=63,
    )
    return build(transformers.Qwen2_5_VLForConditionalGeneration, config, attention)


def build(kind: Any, config: Any, attention: Attention) -> Any:
    torch.manual_seed(0)
    config._attn_implementation = attention
    model = kind._from_config(config, attn_implementation=attention)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1 and "language_model" in name:
                parameter.mul_(8.0)  # uneven attention
    return model.eval()


WORDS = ("user", "assistant", "system", ":", ".", *"abcdefghijklmnopqrstuvwxyz")
CHAT = (
    "{% for one in messages %}{{ one['role'] }} : {% for part in one['content'] %}"
    "{% if part['type'] == 'image' %}<image> . {% else %}{{ part['text'] }} {% endif %}"
    "{% endfor %}{% endfor %}{% if add_generation_prompt %}assistant :{% endif %}"
)
MADE: dict[str, Callable[[Attention], Any]] = {
    "llava": llava, "llava_next": llava_next, "qwen2_5_vl": qwen,
}  # fmt: skip


def make_tokenizer() -> Any:
    """Words apart; `<image>` has the id of the models above."""
    special = {"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3, "<image>": IMAGE}
    words = {word: 5 + place for place, word in enumerate(WORDS)}
    made = Tokenizer(models.WordLevel({**special, **words}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token="<s>", eos_token="</s>", pad_token="<pad>",
        unk_token="<unk>", additional_special_tokens=["<image>"], chat_template=CHAT,
    )  # fmt: skip


def make_processor(name: str) -> Any:
    """For pictures of `SIZE`."""
    square = {"height": SIZE, "width": SIZE}
    if name == "qwen2_5_vl":
        return transformers.Qwen2VLImageProcessorPil(
            patch_size=4, merge_size=2, temporal_patch_size=2, min_pixels=64, max_pixels=4096
        )
    shared = {"size": {"shortest_edge": SIZE}, "crop_size": square}
    if name == "llava":
        return transformers.CLIPImageProcessorPil(**shared)
    pinpoints = [[16, 32], [32, 16]]
    return transformers.LlavaNextImageProcessorPil(**shared, image_grid_pinpoints=pinpoints)


def write_published(name: str, directory: Path) -> Path:
    """A model's directory, as `save_pretrained` writes its parts."""
    MADE[name]("sdpa").save_pretrained(directory)
    make_processor(name).save_pretrained(directory)
    make_tokenizer().save_pretrained(directory)
    return directory
