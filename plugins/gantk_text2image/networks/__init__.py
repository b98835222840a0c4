"""The networks of text to image: a generator that looks at tokens, and a critic that judges picture and match."""
