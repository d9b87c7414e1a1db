"""The loops of the original repositories, one module per family, run from your checkout of them.

Each offers `load(reference, checkpoint, text)`, and with a further argument `device` also runs on a GPU: given that
checkout, a checkpoint and the folder of the text tower, a function that decodes and embeds one file as the original
does, one at a time.
"""
