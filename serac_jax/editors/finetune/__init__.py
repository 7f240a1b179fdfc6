"""editors/finetune."""
