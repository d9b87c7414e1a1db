"""Files that others made: text, delimited tables, pickles, word vectors. Nothing in them is run or trusted."""
