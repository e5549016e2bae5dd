"""Fine-tuning: a trained segmenter is fitted to a user's own stack by a few strokes or labelled slices."""

from segment.finetuning.fitting import FineTuned, FineTuningReport, Refinement, fine_tune

__all__ = ["FineTuned", "FineTuningReport", "Refinement", "fine_tune"]
