"""One module per family of encoders; each offers `ENCODER`, a subclass of `stages.embed.encoder.Encoder`."""
