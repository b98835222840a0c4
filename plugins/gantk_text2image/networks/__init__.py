"""The networks of text to image: a generator that looks at tokens, and a critic that judges picture and match."""

TEXT = "text"  # the name of what reads the words for the generator, in a game and in a model
