"""Sounds by an audio encoder of the CLAP kind, speech by Whisper; both transformers checkpoints."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import torch

from schemas.chunks import SoundWindow, Word
from workers.models.base import SAMPLE_RATE, Floats, Segment, Transcript, Wave
from workers.models.conse import CLASS_FILES, WORDINGS
from workers.models.hub_vision import best_labels

WINDOW_S, HOP_S = 2.0, 1.0
TOP = 12
TEXT_BATCH = 64
SPEECH_WINDOW_S = 30.0
"""What Whisper hears at once."""


class HubSoundTagger:
    """Zero-shot AudioSet classes, window by window."""

    def __init__(self, name: str, device: str) -> None:
        from transformers import AutoFeatureExtractor, AutoModel, AutoTokenizer

        self._device = device
        self._model = AutoModel.from_pretrained(name).eval().to(device)
        self._extractor = AutoFeatureExtractor.from_pretrained(name)
        self._names = CLASS_FILES["sound"].read_text().splitlines()
        self._classes = self._class_vectors(AutoTokenizer.from_pretrained(name))

    def tag(self, wave: Wave) -> tuple[SoundWindow, ...]:
        """Windows of 2 s, every second, with their likeliest classes; times from the wave's start."""
        if not len(wave):
            return ()
        length, hop = int(WINDOW_S * SAMPLE_RATE), int(HOP_S * SAMPLE_RATE)
        starts = range(0, max(1, len(wave) - length + hop), hop)
        windows = []
        for start in starts:
            piece = wave[start : start + length]
            labels = best_labels(self._logits(piece), self._names, TOP)
            begin = start * 1000 // SAMPLE_RATE
            end = begin + len(piece) * 1000 // SAMPLE_RATE
            windows.append(SoundWindow(start_ms=begin, end_ms=end, labels=labels))
        return tuple(windows)

    def _logits(self, wave: Wave) -> Floats:
        rate = int(self._extractor.sampling_rate)
        inputs = self._extractor(_resampled(wave, rate), sampling_rate=rate, return_tensors="pt").to(self._device)
        with torch.inference_mode():
            vector = self._model.get_audio_features(**inputs).pooler_output[0]
            scale = self._model.logit_scale_a.exp()
        logits: Floats = (scale * (self._classes @ vector)).float().cpu().numpy()
        return logits

    def _class_vectors(self, tokenizer: Any) -> torch.Tensor:
        texts = [WORDINGS["sound"][1].format(name) for name in self._names]
        rows = []
        for start in range(0, len(texts), TEXT_BATCH):
            batch = tokenizer(texts[start : start + TEXT_BATCH], padding=True, truncation=True, return_tensors="pt")
            with torch.inference_mode():
                output = self._model.get_text_features(
                    input_ids=batch["input_ids"].to(self._device),
                    attention_mask=batch["attention_mask"].to(self._device),
                )
            rows.append(output.pooler_output)
        return torch.cat(rows)


def _resampled(wave: Wave, rate: int) -> Wave:
    """Linear interpolation: the encoder's own filters are far coarser than what it loses."""
    if rate == SAMPLE_RATE:
        return wave
    size = max(1, round(len(wave) * rate / SAMPLE_RATE))
    resized = cv2.resize(wave.reshape(1, -1), (size, 1), interpolation=cv2.INTER_LINEAR)
    flat: Wave = resized.reshape(-1).astype(np.float32)
    return flat


class HubSpeechReader:
    """Whisper by transformers: windows of 30 s, words with their times from the attention."""

    def __init__(self, name: str, device: str) -> None:
        from transformers import AutoProcessor, WhisperForConditionalGeneration

        self._device = device
        self._model = WhisperForConditionalGeneration.from_pretrained(name).eval().to(device)
        self._processor = AutoProcessor.from_pretrained(name)

    def transcribe(self, wave: Wave) -> Transcript:
        """The words with their times; no segments where nobody speaks."""
        length = int(SPEECH_WINDOW_S * SAMPLE_RATE)
        segments = []
        for start in range(0, len(wave), length):
            words = self._words(wave[start : start + length], start * 1000 // SAMPLE_RATE)
            if words:
                segments.append(Segment(words=words, start_ms=words[0].start_ms, end_ms=words[-1].end_ms))
        return Transcript(language="", segments=tuple(segments))

    def _words(self, wave: Wave, offset_ms: int) -> tuple[Word, ...]:
        inputs = self._processor.feature_extractor(wave, sampling_rate=SAMPLE_RATE, return_tensors="pt")
        with torch.inference_mode():
            found = self._model.generate(
                inputs["input_features"].to(self._device), return_timestamps=True, return_token_timestamps=True
            )
        tokenizer = self._processor.tokenizer
        special = set(tokenizer.all_special_ids)
        words: list[Word] = []
        length_ms = len(wave) * 1000 // SAMPLE_RATE
        times = np.clip(found["token_timestamps"][0].float().cpu().numpy() * 1000, 0, length_ms)
        for token, at_ms in zip(found["sequences"][0].tolist(), times.tolist(), strict=True):
            text = tokenizer.decode([token]) if token not in special else ""
            if not text.strip() or text.startswith("<|"):
                continue
            moment = offset_ms + int(at_ms)
            if words and not text[0].isspace():  # the rest of a word
                words[-1] = words[-1].model_copy(update={"text": words[-1].text + text, "end_ms": moment})
            else:
                words.append(Word(text=text.strip(), start_ms=moment, end_ms=moment))
        return tuple(words)
