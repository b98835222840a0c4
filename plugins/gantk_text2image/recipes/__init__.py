"""Data sets that anyone can build at home: pictures with captions.

    python -m gantk_text2image.recipes shapes OUT                     coloured shapes with counts and positions
    python -m gantk_text2image.recipes drawings OUT --package FOLDER  things in colours, from two npm packages of emoji
    python -m gantk_text2image.recipes emoji OUT --package FOLDER     all emoji of these, by their names
    python -m gantk_text2image.recipes clipart OUT --package FOLDER   drawings and their titles, from a Debian package
    python -m gantk_text2image.recipes stamps OUT --package FOLDER    Tux Paint's stamps, from a Debian package

Each writes pictures in `train/` and `test/`, a `captions.jsonl` with a line for each, and a card with counts, licence
and how it was made. The same package gives the same files. Nothing is fetched from the network: a missing package is
named, with the command that gets it.
"""
