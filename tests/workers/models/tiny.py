"""Tiny, randomly initialised checkpoints with tokenizers of their own, saved as transformers saves them."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    ClapAudioConfig,
    ClapConfig,
    ClapFeatureExtractor,
    ClapModel,
    ClapTextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    SiglipConfig,
    SiglipModel,
    SiglipTextConfig,
    SiglipVisionConfig,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
)
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from workers.models.hub import HubNames

WIDTH = 16


def checkpoints(folder: Path) -> HubNames:
    """All four kinds below ``folder``."""
    names = HubNames(
        vision=str(folder / "siglip"),
        audio=str(folder / "clap"),
        speech=str(folder / "whisper"),
        generator=str(folder / "llama"),
        device="cpu",
    )
    _siglip(names.vision)
    _clap(names.audio)
    _whisper(names.speech)
    _llama(names.generator)
    return names


def _tokenizer(extra: tuple[str, ...] = ()) -> PreTrainedTokenizerFast:
    """Bytes as tokens: every text has some."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    special = ["<pad>", "<s>", "</s>", "<unk>", *extra]
    vocabulary = {token: number for number, token in enumerate([*special, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


def _siglip(folder: str) -> None:
    tokenizer = _tokenizer()
    text = SiglipTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=48,
        projection_size=WIDTH,
        bos_token_id=1,
        eos_token_id=2,
    )
    vision = SiglipVisionConfig(
        hidden_size=WIDTH,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=32,
        patch_size=16,
    )
    SiglipModel(SiglipConfig(text_config=text.to_dict(), vision_config=vision.to_dict())).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    SiglipImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)


def _clap(folder: str) -> None:
    tokenizer = _tokenizer()
    text = ClapTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=128,
        projection_dim=WIDTH,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    audio = ClapAudioConfig(
        spec_size=64,
        num_mel_bins=16,
        window_size=4,
        hidden_size=WIDTH,
        patch_embeds_hidden_size=WIDTH // 2,  # doubles with each layer
        depths=[1, 1],
        num_attention_heads=[2, 2],
        num_hidden_layers=2,
        projection_dim=WIDTH,
        patch_size=2,
        patch_stride=[2, 2],
    )
    config = ClapConfig(text_config=text.to_dict(), audio_config=audio.to_dict(), projection_dim=WIDTH)
    ClapModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    extractor = ClapFeatureExtractor(
        feature_size=16, sampling_rate=16_000, max_length_s=2, frequency_max=8000, truncation="rand_trunc"
    )
    extractor.save_pretrained(folder)


def _whisper(folder: str) -> None:
    tokenizer = _tokenizer(("<|startoftranscript|>", "<|notimestamps|>", "<|0.00|>"))
    config = WhisperConfig(
        vocab_size=len(tokenizer),
        num_mel_bins=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        d_model=WIDTH,
        max_source_positions=1500,
        max_target_positions=24,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=4,
    )
    model = WhisperForConditionalGeneration(config)
    settings = {
        "alignment_heads": [[0, 0]],
        "no_timestamps_token_id": 5,
        "max_length": 16,
        "is_multilingual": False,
        "decoder_start_token_id": 4,
        "return_timestamps": True,
        "begin_suppress_tokens": None,
        "_from_model_config": False,  # else it is made anew from the model's configuration when it is loaded
    }
    for name, value in settings.items():
        setattr(model.generation_config, name, value)
    model.save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _llama(folder: str) -> None:
    tokenizer = _tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=512,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
