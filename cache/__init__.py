"""Storage of everything computed: row keys, tables, row stores and artifacts. Independent of models and stages."""
